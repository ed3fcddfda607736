"""From a GraphQL document to one SQL statement that builds its answer.

`declare` is what the rooms use: a type says once how it maps to a table. `compile` makes SQL of a selection, `plan`
keeps the result, `planner` runs it, and `resolve` lets graphql-core read the same rows for all that is left to it.
"""
