"""The page on which people read what a sweep found."""
