"""Language models, n-grams and GRUs over words or tokens, and what scores hypotheses with them."""
