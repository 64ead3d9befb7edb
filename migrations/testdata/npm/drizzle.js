// Applies the migrations of a directory with the migrator of drizzle-orm. Arguments: the directory. The connection is in PG*.
// Prints how many it applied.
import { drizzle } from 'drizzle-orm/node-postgres'
import { migrate } from 'drizzle-orm/node-postgres/migrator'
import pg from 'pg'

const client = new pg.Client()
await client.connect()
const count = async () => (await client.query('SELECT count(*)::int AS n FROM drizzle.__drizzle_migrations').catch(() => ({ rows: [{ n: 0 }] }))).rows[0].n
const before = await count()
await migrate(drizzle(client), { migrationsFolder: process.argv[2] })
console.log(await count() - before)
await client.end()
