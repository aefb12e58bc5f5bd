"""Login: how the board knows a person, by tokens, sessions of browsers and web logins. `guard.py` authenticates."""
