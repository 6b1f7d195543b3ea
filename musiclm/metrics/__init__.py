"""What is measured, as pure functions on tensors; `musiclm/evaluate` has the protocols that use them."""
