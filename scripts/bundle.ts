/**
 * Bundles the Worker as it is deployed. Wrangler's own bundler makes the same Worker, a tenth larger: it is what
 * `npm start` uses.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Plugin, rolldown } from 'rolldown';
import { parseSync, Visitor } from 'rolldown/utils';

/** How a statement of SQL begins, or a part of one. */
const SQL = /^\s*(select|insert|update|delete|create|alter|with|from|where|and|on) /;
const root = fileURLToPath(new URL('..', import.meta.url));

/** What is uploaded. */
export interface Bundle {
  /** Of its only module. */
  code: string;
  /** Leads from its code to the source. */
  map: string;
  /** The source files of which something is in it. */
  files: string[];
}

/**
 * Bundles a Worker with all that it imports.
 *
 * @param define what stands in place of names, as in wrangler.toml
 * @param entry its file; absent for the product's own
 */
export async function bundleWorker(define: Record<string, string>, entry = 'src/index.ts'): Promise<Bundle> {
  const bundle = await rolldown({
    cwd: root,
    input: entry,
    external: /^(cloudflare|node):/,
    platform: 'neutral',
    resolve: { conditionNames: ['workerd', 'worker', 'browser'], mainFields: ['browser', 'module', 'main'] },
    transform: { define },
    plugins: [leaveOut()],
    experimental: { nativeMagicString: true },
    // Reading a property, or a global, does nothing else here.
    treeshake: { propertyReadSideEffects: false, unknownGlobalSideEffects: false },
    optimization: { inlineConst: { mode: 'all', pass: 3 } },
  });
  const { output } = await bundle.generate({ minify: true, comments: false, sourcemap: true, codeSplitting: false });
  await bundle.close();
  const [{ code, map, modules }] = output;
  const contained = Object.entries(modules).filter(([, module]) => module.renderedLength > 0);
  return { code, map: String(map), files: contained.map(([file]) => relative(root, file)) };
}

/** Makes the plugin that leaves out what only readers need: descriptions of schemas, line breaks and indents of SQL. */
function leaveOut(): Plugin {
  return {
    name: 'leave-out',
    transform: {
      filter: {
        id: /\/src\/.*\.ts$/,
        code: [/z\.described\(/, /`\s*(select|insert|update|delete|create|alter|with|from|where|and|on) /],
      },
      handler: (code, id, { magicString }) => {
        if (!magicString) return null;
        new Visitor({
          CallExpression: ({ callee, start, end, arguments: [schema] }) => {
            if (code.slice(callee.start, callee.end) !== 'z.described' || !schema) return;
            magicString.remove(start, schema.start).remove(schema.end, end);
          },
          TemplateLiteral: ({ quasis }) => {
            if (!SQL.test(quasis[0]?.value.raw ?? '')) return;
            for (const { start, value } of quasis) {
              const at = code.indexOf(value.raw, start);
              const shorter = value.raw.replace(/\s*\n\s*/g, ' ');
              if (shorter !== value.raw) magicString.overwrite(at, at + value.raw.length, shorter);
            }
          },
        }).visit(parseSync(id, code).program);
        return { code: magicString };
      },
    },
  };
}
