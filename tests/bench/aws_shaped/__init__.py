"""The flow of Greenlight as a plain build on AWS would have it: what row B of the benchmarks compares with.

    GitHub, CircleCI ─▶ webhooks ─▶ facts ─▶ recorder ─▶ records ─▶ promoter ─▶ deployments ─▶ deployer ─▶ command

Four Flask services under gunicorn, a process each, and three DynamoDB tables through boto3's resource. A service hears of the
rows of the table before it in one of two ways: it polls the table's stream (`AWS_SHAPED_POLL`, seconds), or whoever wrote the
row posts it (`AWS_SHAPED_NEXT`, the URL of the next service). Only what takes time in such a build is here: signatures are
verified, writes are conditional, a repeated webhook or change has no second effect, clients are made once. There is no policy
file, no journal, no repair of what failed half-way, and DynamoDB Local keeps its tables in memory: all in its favour.
"""
