import { UNION_KEYWORDS } from '../../../claude/request/schema-faults.ts';
import { isObject, type JsonObject } from '../../../kit/json/object.ts';

/** What refers to a branch of a union, which would be gone. */
const INTO_UNION = /"#\/(?:anyOf|oneOf|allOf)\//;

/**
 * Converts the schema of a tool's input to one that the API accepts: an object without a union at its top. It has the same
 * properties as the server's own. It may allow more combinations, because the server checks the input itself.
 *
 * @returns undefined if the schema cannot be expressed without the union
 */
export function toApiInputSchema(schema: unknown): JsonObject | undefined {
  if (!isObject(schema) || (schema.type ?? 'object') !== 'object') return undefined;
  const { anyOf: _, oneOf: __, allOf: ___, ...rest } = schema;
  let merged: JsonObject = { ...rest, type: 'object' };
  for (const name of UNION_KEYWORDS) {
    const union = schema[name];
    if (union === undefined) continue;
    const branches = Array.isArray(union) ? union.map(toApiInputSchema) : [];
    if (branches.length === 0 || !branches.every(isMergeableBranch)) return undefined;
    merged = mergeSchemaBranches(merged, branches, name === 'allOf');
  }
  return INTO_UNION.test(JSON.stringify(merged)) ? undefined : merged;
}

/** A schema that names its properties. */
interface SchemaWithProperties extends JsonObject {
  properties: JsonObject;
}

function isMergeableBranch(branch: JsonObject | undefined): branch is SchemaWithProperties {
  return isObject(branch?.properties);
}

/** Adds the properties of branches. A property of which they have several forms may have any of these. */
function mergeSchemaBranches(
  merged: JsonObject,
  branches: readonly SchemaWithProperties[],
  areAllNeeded: boolean,
): JsonObject {
  const own = isObject(merged.properties) ? merged.properties : {};
  const forms = new Map<string, Map<string, unknown>>();
  for (const properties of [own, ...branches.map((branch) => branch.properties)]) {
    for (const [name, form] of Object.entries(properties)) {
      const names = forms.get(name) ?? new Map<string, unknown>();
      forms.set(name, names.set(JSON.stringify(form), form));
    }
  }
  const combinePropertyForms = (all: readonly unknown[]) => (all.length === 1 ? all[0] : { anyOf: all });
  const needed = branches.map(getRequiredProperties);
  const isRequiredInAllBranches = (name: unknown) => needed.every((names) => names.includes(name));
  const required = new Set([
    ...getRequiredProperties(merged),
    ...needed.flat().filter((name) => areAllNeeded || isRequiredInAllBranches(name)),
  ]);
  return {
    ...merged,
    properties: Object.fromEntries([...forms].map(([name, all]) => [name, combinePropertyForms([...all.values()])])),
    ...(required.size > 0 ? { required: [...required] } : {}),
  };
}

function getRequiredProperties({ required }: JsonObject): readonly unknown[] {
  return Array.isArray(required) ? required : [];
}
