"""What torch.compile itself warns of, which is no warning of ours."""

import pytest

# It looks whether what goes in has a gradient yet.
COMPILES = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
