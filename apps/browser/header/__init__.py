"""What stands above every page: what this is, a link to it, and saved views."""
