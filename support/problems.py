"""What may be wrong with what is said of calls and operators."""

from chain.problems import ProblemCode

MAX_SKILLS = 20


class CallCode(ProblemCode):
    """Those of support."""

    INVALID_LANGUAGE = "invalid_language", 422, f"Send 1 to {MAX_SKILLS} codes such as uk (ISO 639)."
    INVALID_SKILLS = "invalid_skills", 422, f"Send 1 to {MAX_SKILLS} skills, each an id such as orders."
    INVALID_AVAILABILITY = "invalid_availability", 422, "Send true or false."
