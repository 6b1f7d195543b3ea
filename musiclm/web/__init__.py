"""The page on which music is made, and the HTTP interface behind it (`musiclm serve`)."""
