from hypothesis import HealthCheck, settings

# The machine that runs the tests may be slow; that is no failure.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
