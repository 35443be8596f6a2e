import { UNIONS } from '../../../claude/request/refused-schemas.ts';
import { isObject, type Json } from '../../../kit/json/object.ts';

/** What refers to a branch of a union, which would be gone. */
const INTO_UNION = /"#\/(?:anyOf|oneOf|allOf)\//;

/**
 * Makes the schema of a tool's input one that the API takes: an object, without a union at its top. It names what the server's
 * own names. It may allow more together, since the server checks the input itself.
 *
 * @returns undefined where that cannot be said without the union
 */
export function schemaForApi(schema: unknown): Json | undefined {
  if (!isObject(schema) || (schema.type ?? 'object') !== 'object') return undefined;
  const { anyOf: _, oneOf: __, allOf: ___, ...rest } = schema;
  let merged: Json = { ...rest, type: 'object' };
  for (const name of UNIONS) {
    const union = schema[name];
    if (union === undefined) continue;
    const branches = Array.isArray(union) ? union.map(schemaForApi) : [];
    if (branches.length === 0 || !branches.every(isMergeable)) return undefined;
    merged = withBranches(merged, branches, name === 'allOf');
  }
  return INTO_UNION.test(JSON.stringify(merged)) ? undefined : merged;
}

/** A schema that names its properties. */
interface WithProperties extends Json {
  properties: Json;
}

function isMergeable(branch: Json | undefined): branch is WithProperties {
  return isObject(branch?.properties);
}

/** Adds the properties of branches. A property of which they have several forms may have any of these. */
function withBranches(merged: Json, branches: readonly WithProperties[], areAllNeeded: boolean): Json {
  const own = isObject(merged.properties) ? merged.properties : {};
  const forms = new Map<string, Map<string, unknown>>();
  for (const properties of [own, ...branches.map((branch) => branch.properties)]) {
    for (const [name, form] of Object.entries(properties)) {
      const names = forms.get(name) ?? new Map<string, unknown>();
      forms.set(name, names.set(JSON.stringify(form), form));
    }
  }
  const formOf = (all: readonly unknown[]) => (all.length === 1 ? all[0] : { anyOf: all });
  const needed = branches.map(requiredOf);
  const inAll = (name: unknown) => needed.every((names) => names.includes(name));
  const required = new Set([...requiredOf(merged), ...needed.flat().filter((name) => areAllNeeded || inAll(name))]);
  return {
    ...merged,
    properties: Object.fromEntries([...forms].map(([name, all]) => [name, formOf([...all.values()])])),
    ...(required.size > 0 ? { required: [...required] } : {}),
  };
}

function requiredOf({ required }: Json): readonly unknown[] {
  return Array.isArray(required) ? required : [];
}
