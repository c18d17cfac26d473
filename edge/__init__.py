"""HTTP connections within bounds: how many, how many bytes, how long. uvicorn serves, its protocol is extended here."""
