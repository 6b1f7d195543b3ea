"""Measuring what the models make and what the tokens carry."""
