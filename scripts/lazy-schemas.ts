/**
 * Has schemas built at their first use. An isolate that is new would else build all of them before its first answer, which
 * needs few.
 */
import { fileURLToPath } from 'node:url';
import type { Plugin } from 'rolldown';
import { type ESTree, parseSync } from 'rolldown/utils';

const HELPER = fileURLToPath(new URL('../src/edge/kit/http/lazy.ts', import.meta.url));
/** What a file has that makes schemas. */
const IMPORT = /import \* as z from '[^']*\/zod\.ts'/;

/**
 * Makes a plugin that puts a stand-in in place of each constant at the top of a file that is a schema, and of each member of
 * one that is an object of them: `z.string()` or, of such a constant, `name.check(…)`. Both have no effect but to make a
 * schema, so nobody sees when that is.
 */
export function lazySchemas(): Plugin {
  return {
    name: 'lazy-schemas',
    transform: {
      filter: { id: /\/src\/.*\.ts$/, code: IMPORT },
      handler: (code, id, { magicString }) => {
        if (!magicString) throw new Error('There is no magicString: rolldown has another name for it now.');
        const schemas = schemasIn(parseSync(id, code).program);
        if (schemas.length === 0) return null;
        for (const { start, end } of schemas) {
          magicString.appendLeft(start, '/* @__PURE__ */ lazy(() => (').appendRight(end, '))');
        }
        magicString.prepend(`import { lazy } from ${JSON.stringify(HELPER)};\n`);
        return { code: magicString };
      },
    },
  };
}

/** @returns the calls that make the schemas of a file's constants */
function schemasIn({ body }: ESTree.Program): ESTree.Expression[] {
  const names = new Set<string>();
  const found: ESTree.Expression[] = [];
  for (const statement of body) {
    const declared = statement.type === 'ExportNamedDeclaration' ? statement.declaration : statement;
    if (declared?.type !== 'VariableDeclaration' || declared.kind !== 'const') continue;
    for (const { id, init } of declared.declarations) {
      if (id.type !== 'Identifier' || !init) continue;
      if (makesSchema(init, names)) {
        names.add(id.name);
        found.push(init);
      }
      if (init.type === 'ObjectExpression') found.push(...init.properties.flatMap((member) => schemaIn(member, names)));
    }
  }
  return found;
}

/** @returns the value of a member, where it is a schema */
function schemaIn(member: ESTree.ObjectPropertyKind, names: ReadonlySet<string>): ESTree.Expression[] {
  return member.type === 'Property' && makesSchema(member.value, names) ? [member.value] : [];
}

/** @param names of constants that are schemas */
function makesSchema(made: ESTree.Expression, names: ReadonlySet<string>): boolean {
  if (made.type !== 'CallExpression' || made.callee.type !== 'MemberExpression') return false;
  const { object, property } = made.callee;
  if (object.type === 'Identifier' && object.name === 'z') return true;
  if (property.type !== 'Identifier' || property.name !== 'check') return false;
  return object.type === 'Identifier' ? names.has(object.name) : makesSchema(object, names);
}
