"""The sources that are shipped: files, SQL, HTTP, Redis streams; and how others are found."""
