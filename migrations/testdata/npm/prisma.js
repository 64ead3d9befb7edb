// Applies the migrations of a directory as `prisma migrate deploy` does: with Prisma's schema engine, over a driver of
// JavaScript. Arguments: the directory. The connection is in PG*. Prints the names that it applied.
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { PrismaPg } from '@prisma/adapter-pg'
import { bindMigrationAwareSqlAdapterFactory } from '@prisma/driver-adapter-utils'
import * as engine from '@prisma/schema-engine-wasm/schema_engine_bg'

const wasm = readFileSync(new URL('./node_modules/@prisma/schema-engine-wasm/schema_engine_bg.wasm', import.meta.url))
const { instance } = await WebAssembly.instantiate(wasm, { './schema_engine_bg.js': engine })
engine.__wbg_set_wasm(instance.exports)
instance.exports.__wbindgen_start()

const dir = process.argv[2]
const adapter = bindMigrationAwareSqlAdapterFactory(new PrismaPg({
  host: process.env.PGHOST, user: process.env.PGUSER, password: process.env.PGPASSWORD, database: process.env.PGDATABASE,
}))
const schema = 'datasource db {\n  provider = "postgresql"\n}\n'
const tool = await engine.SchemaEngine.new({ datamodels: [['schema.prisma', schema]] }, () => {}, adapter)
const names = readdirSync(dir, { withFileTypes: true }).filter((d) => d.isDirectory()).map((d) => d.name).sort()
const lock = `${dir}/migration_lock.toml`
const result = await tool.applyMigrations({
  migrationsList: {
    baseDir: dir,
    lockfile: { path: 'migration_lock.toml', content: existsSync(lock) ? readFileSync(lock, 'utf8') : null },
    shadowDbInitScript: '',
    migrationDirectories: names.map((path) => ({
      path, migrationFile: { path: 'migration.sql', content: { tag: 'ok', value: readFileSync(`${dir}/${path}/migration.sql`, 'utf8') } },
    })),
  },
  filters: { externalTables: [], externalEnums: [] },
})
console.log(result.appliedMigrationNames.length)
process.exit(0)
