"""How the projection heads of the embedded model are made: one module per step, see README.md."""
