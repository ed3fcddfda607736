// What mercurius and Apollo share: the schema, and resolvers with one SQL statement for each root field.
import { readFileSync } from 'node:fs'
import pg from 'pg'

const templates = JSON.parse(readFileSync(process.env.STATEMENTS, 'utf8'))
const open = (url) => new pg.Pool({ connectionString: url, max: 8, idleTimeoutMillis: 0 })
const owner = open(process.env.OWNER_URL)
const application = open(process.env.APPLICATION_URL)

const statements = new Map()

// A prepared statement for each page size.
function statement(name, page) {
  const key = page ? `${name} ${page}` : name
  if (!statements.has(key)) {
    statements.set(key, templates[name].replaceAll('{page}', page).replaceAll('{one_more}', page + 1))
  }
  return { name: key, text: statements.get(key) }
}

async function answer(pool, name, page, values) {
  const { rows } = await pool.query({ ...statement(name, page), values, rowMode: 'array' })
  return rows.length ? JSON.parse(rows[0][0]) : null
}

const uuid = (id) => id.slice(4).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')

export const typeDefs = `
  scalar DateTime
  type Seller { namespace: String! name: String! }
  type ListingVersion { number: Int! digest: String! baseModel: String! createdAt: DateTime! }
  type Listing {
    id: ID! name: String! title: String! description: String! licence: String! price: Int! currency: String!
    baseModel: String! publishedAt: DateTime! seller: Seller! versions(first: Int = 3): [ListingVersion!]!
    latestVersion: ListingVersion
  }
  type Deployment { id: ID! name: String! digest: String createdAt: DateTime! }
  type PageInfo { hasNextPage: Boolean! endCursor: String }
  type ListingEdge { cursor: String! node: Listing! }
  type ListingConnection { edges: [ListingEdge!]! pageInfo: PageInfo! }
  type DeploymentEdge { cursor: String! node: Deployment! }
  type DeploymentConnection { edges: [DeploymentEdge!]! pageInfo: PageInfo! }
  type Query {
    listing(id: ID!): Listing
    listings(first: Int = 20, text: String, baseModel: String): ListingConnection!
    deployments(first: Int = 20): DeploymentConnection!
  }`

export const resolvers = {
  Query: {
    listing: (_, { id }) => answer(owner, 'listing', 0, [uuid(id)]),
    listings: (_, { first, text, baseModel }) =>
      text ? answer(owner, 'search', first, [text, baseModel]) : answer(owner, 'newest', first, []),
    deployments: (_, { first }, { tenantId }) => answer(application, 'deployments', first, [tenantId]),
  },
}
