/**
 * Bundles the Worker as it is deployed. What wrangler bundles by itself, as `npm start` has it do, does the same and is a
 * tenth larger.
 */
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Plugin, rolldown } from 'rolldown';
import { type ESTree, parseSync, Visitor } from 'rolldown/utils';
import { lazySchemas } from './lazy-schemas.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
/** How SQL begins. */
const SQL = String.raw`\s*(select|insert|update|delete|create|alter|with|from|where|and|on) `;

/** What stands around a schema, in place of the call that describes it. */
const UNDESCRIBED = new Map([
  ['z.described', { before: '', after: '' }],
  ['z.optionally', { before: 'z.optional(', after: ')' }],
]);

/** What is uploaded. */
export interface Bundle {
  /** Of its only module. */
  code: string;
  /** Its source map, in JSON. */
  map: string;
  /** The source files of which something is in it, by their paths in this checkout. */
  files: string[];
}

/**
 * Bundles a Worker with all that it imports.
 *
 * @param define code that stands in place of names, as `[define]` in wrangler.toml
 * @param entry the file of the Worker; absent for the product's own
 * @param plugins what changes the source before
 * @throws Error that says what cannot be read or found
 */
export async function bundleWorker(
  define: Record<string, string>,
  entry = 'src/index.ts',
  plugins: readonly Plugin[] = [],
): Promise<Bundle> {
  const bundle = await rolldown({
    cwd: root,
    input: entry,
    external: /^(cloudflare|node):/,
    platform: 'neutral',
    // As wrangler resolves packages.
    resolve: { conditionNames: ['workerd', 'worker', 'browser'], mainFields: ['browser', 'module', 'main'] },
    transform: { define: { ...define, 'navigator.userAgent': '"Cloudflare-Workers"' } },
    plugins: [...plugins, lazySchemas(), leaveOut(), leaveOutUnused()],
    experimental: { nativeMagicString: true },
    checks: { pluginTimings: false },
    treeshake: { unknownGlobalSideEffects: false, propertyReadSideEffects: false },
    optimization: { inlineConst: { mode: 'all', pass: 3 } },
  });
  const { output } = await bundle.generate({
    entryFileNames: 'index.js',
    codeSplitting: false,
    minify: true,
    comments: false,
    // One character that is not Latin-1 would have the runtime keep all of the code in two bytes a character.
    charset: 'ascii',
    sourcemap: true,
  });
  await bundle.close();
  const [{ code, map, modules }] = output;
  const contained = Object.entries(modules).filter(([, { renderedLength }]) => renderedLength > 0);
  return { code, map: String(map), files: contained.map(([file]) => relative(root, file)) };
}

/** Makes a plugin that leaves out what only readers need: descriptions of schemas, and line breaks in SQL. */
function leaveOut(): Plugin {
  return {
    name: 'leave-out',
    transform: {
      // To parse a file in JavaScript takes longer than all else that is done to it: most have nothing of this.
      filter: { id: /\/src\/.*\.ts$/, code: new RegExp(`z\\.(described|optionally)|\`${SQL}`) },
      handler: (code, id, { magicString }) => {
        if (!magicString) throw new Error('There is no magicString: rolldown has another name for it now.');
        const calls: ESTree.CallExpression[] = [];
        const templates: ESTree.TemplateLiteral[] = [];
        const visitor = { CallExpression: calls.push.bind(calls), TemplateLiteral: templates.push.bind(templates) };
        new Visitor(visitor).visit(parseSync(id, code).program);
        for (const {
          callee,
          start,
          end,
          arguments: [schema],
        } of calls) {
          const without = UNDESCRIBED.get(code.slice(callee.start, callee.end));
          if (!without || !schema) continue;
          magicString.update(start, schema.start, without.before).update(schema.end, end, without.after);
        }
        for (const { start, value } of templates.filter(isSql).flatMap(({ quasis }) => quasis)) {
          const at = code.indexOf(value.raw, start);
          const shorter = value.raw.replace(/\s*\n\s*/g, ' ');
          if (shorter !== value.raw) magicString.overwrite(at, at + value.raw.length, shorter);
        }
        return { code: magicString };
      },
    },
  };
}

/** Parts of packages that nothing here calls, where a bundler cannot see it: by the file's path, what is left out of it. */
const UNUSED: readonly (readonly [file: RegExp, part: RegExp])[] = [
  // What zod calls formats of strings: no schema has one but a pattern. Schemas are asked by `safeParse` alone.
  [/\/zod\/v4\/locales\/en\.js$/, /(?<=const FormatDictionary = \{)[^{}]+/],
  [/\/zod\/v4\/mini\/schemas\.js$/, /\n {4}parse\(.*\n.*\n {4}\},/],
  [/\/zod\/v4\/mini\/schemas\.js$/, /\n {4}parseAsync\(.*\n.*\n {4}\},/],
  [/\/zod\/v4\/mini\/schemas\.js$/, /\n {4}safeParseAsync\(.*\n.*\n {4}\},/],
  // Hono's apps within apps, tests, service workers, forms and pages.
  [/\/hono\/dist\/hono-base\.js$/, /\n\tmount\([\s\S]*?\n\t\}/],
  [/\/hono\/dist\/hono-base\.js$/, /\n\trequest = [\s\S]*?\n\t\};/],
  [/\/hono\/dist\/hono-base\.js$/, /\n\tfire = [\s\S]*?\n\t\};/],
  [/\/hono\/dist\/request\.js$/, /\n\tasync parseBody\([\s\S]*?\n\t\}/],
  [/\/hono\/dist\/context\.js$/, /\n\trender = [\s\S]*?\n\tsetRenderer = [\s\S]*?\n\t\};/],
  [/\/hono\/dist\/context\.js$/, /\n\thtml = [\s\S]*?\n\t\};/],
  // The service and the region of a signature are given.
  [/\/aws4fetch\/dist\/aws4fetch\.esm\.mjs$/, /\n\[guessedService, .*;/],
];

/** Makes a plugin that leaves out what packages have and nothing calls. */
function leaveOutUnused(): Plugin {
  return {
    name: 'leave-out-unused',
    transform: {
      filter: { id: UNUSED.map(([file]) => file) },
      handler: (code, id, { magicString }) => {
        if (!magicString) throw new Error('There is no magicString: rolldown has another name for it now.');
        for (const [, part] of UNUSED.filter(([file]) => file.test(id))) {
          const found = part.exec(code);
          if (!found) throw new Error(`${id} has no ${part} any more.`);
          magicString.remove(found.index, found.index + found[0].length);
        }
        return { code: magicString };
      },
    },
  };
}

/** @returns whether a text begins as SQL does. */
function isSql({ quasis: [first] }: ESTree.TemplateLiteral): boolean {
  return new RegExp(`^${SQL}`).test(first?.value.raw ?? '');
}
