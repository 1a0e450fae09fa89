"""BLEU, ROUGE-L and WER as the papers compute them, and the named protocols that say which variant is meant."""
