"""How actors come to run: all on this machine (`local`), or each on its own host (`hosts`)."""
