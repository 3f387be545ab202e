"""The daily engine: views in, one account through joined segments out; screening and vectorbt beside it."""
