"""Published models taken over as components."""
