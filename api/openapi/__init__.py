"""The OpenAPI document: what each address takes and answers, said once and checked against what it does."""
