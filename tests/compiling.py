"""What torch.compile itself warns of, which is no warning of ours."""

import pytest

COMPILES = pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf",  # it looks whether an input has a gradient
    "ignore:.*Function'> should not be instantiated:DeprecationWarning",  # it does so with autograd functions
)
