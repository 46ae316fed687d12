"""How the documentation is made: pages of the repository as a site, and what pages take from the code itself."""
