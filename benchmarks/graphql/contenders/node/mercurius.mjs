import fastify from 'fastify'
import mercurius from 'mercurius'
import { resolvers, typeDefs } from './schema.mjs'

const app = fastify({ logger: false })
app.register(mercurius, {
  schema: typeDefs,
  resolvers,
  jit: 1,
  graphiql: false,
  context: (request) => ({ tenantId: request.headers['tenant-id'] }),
})
await app.listen({ port: Number(process.env.PORT), host: '127.0.0.1' })
