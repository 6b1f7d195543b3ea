"""LightningModules, one file per trainable part, and the command line that runs them."""
