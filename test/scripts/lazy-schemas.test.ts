import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { bundleWorker } from '../../scripts/bundle.ts';
import type * as z from '../../src/edge/kit/http/zod.ts';
import * as schemas from '../../src/edge/toolkit/schemas.ts';
import { runs, tryCases } from '../support/runs.ts';

/** There are more than a thousand. What is built at the start is read there: the shipped webhooks are checked by theirs. */
const MOST_AT_THE_START = 200;

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-lazy-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('an isolate that is new builds few of the schemas before it is asked', async () => {
  const count = async (code: string) => {
    const file = join(folder, 'worker.mjs');
    await writeFile(file, code.replace('"cloudflare:workers"', '"data:text/javascript,export class DurableObject {}"'));
    // In a process of its own: zod calls this for every schema of the process.
    const script = `let built = 0;
      globalThis.__zod_globalConfig = { postProcessor: () => { built += 1; } };
      await import(${JSON.stringify(pathToFileURL(file).href)});
      console.log(built);`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
    return Number(stdout);
  };
  const built = await count(inject('deployed').code);
  expect(built).toBeGreaterThan(0);
  expect(built).toBeLessThan(MOST_AT_THE_START);
});

test('each schema in the bundle judges every value as that of the source does', async () => {
  const { code } = await bundleWorker({}, 'src/edge/toolkit/schemas.ts');
  const file = join(folder, 'schemas.mjs');
  await writeFile(file, code.replace(/\n\/\/# sourceMappingURL=.*/, ''));
  const ofSource = schemasIn(schemas);
  const ofBundle = schemasIn((await import(pathToFileURL(file).href)) as object);
  expect([...ofBundle.keys()].sort()).toEqual([...ofSource.keys()].sort());
  for (const [name, source] of ofSource) {
    const bundled = ofBundle.get(name);
    tryCases(runs(200), valuesFor(source), (value) => {
      expect(judged(bundled, value), name).toEqual(judged(source, value));
    });
  }
});

type Schema = z.ZodMiniType;

/** @returns the schemas by their names; those of an object of schemas, such as `putClassifier`, by both of theirs */
function schemasIn(exported: object): Map<string, Schema> {
  const found = new Map<string, Schema>();
  for (const [name, value] of Object.entries(exported) as [string, object][]) {
    if ('_zod' in value) found.set(name, value as Schema);
    else for (const [member, one] of Object.entries(value)) found.set(`${name}.${member}`, one as Schema);
  }
  return found;
}

/** Makes values that have some of the members that a schema asks for. */
function valuesFor(schema: Schema): fc.Arbitrary<unknown> {
  const any = fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.constant(null), fc.jsonValue({ maxDepth: 2 }));
  const { shape } = schema as Schema & { shape?: object };
  if (shape === undefined) return any;
  const members = Object.fromEntries(Object.keys(shape).map((name) => [name, any]));
  return fc.oneof({ weight: 9, arbitrary: fc.record(members, { requiredKeys: [] }) }, any);
}

function judged(schema: Schema | undefined, value: unknown): unknown {
  const { data, error } = schema?.safeParse(value) ?? {};
  return error ? error.issues.map(({ code, path, message }) => ({ code, path, message })) : { data };
}
