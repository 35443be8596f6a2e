import {
  filterStrings,
  isJsonObject,
  type Json,
  type JsonObject,
  jsonToText,
  readOwnMember,
} from '../../api-rules/json.ts';
import { readNumberKeyword, resolveSchemaReference, type SchemaSearchBudget } from './schema-forms.ts';

/** A schema that is deeper than this refers to itself. */
const MAX_CHECK_DEPTH = 250;

const TYPE_CHECKS = new Map<string, (value: Json) => boolean>([
  ['null', (value) => value === null],
  ['array', Array.isArray],
  ['object', isJsonObject],
  ['integer', Number.isInteger],
]);

function isOfJsonType(value: Json, type: string): boolean {
  return TYPE_CHECKS.get(type)?.(value) ?? typeof value === type;
}

function isWithinNumericBounds(
  value: number,
  schema: JsonObject,
  minimumKeyword: string,
  maximumKeyword: string,
): boolean {
  return (
    value >= (readNumberKeyword(schema, minimumKeyword) ?? -Infinity) &&
    value <= (readNumberKeyword(schema, maximumKeyword) ?? Infinity)
  );
}

function satisfiesNumberSchema(value: number, schema: JsonObject): boolean {
  if (value <= (readNumberKeyword(schema, 'exclusiveMinimum') ?? -Infinity)) return false;
  if (value >= (readNumberKeyword(schema, 'exclusiveMaximum') ?? Infinity)) return false;
  const step = readNumberKeyword(schema, 'multipleOf') ?? 0;
  const times = step > 0 ? value / step : 0;
  if (Math.abs(times - Math.round(times)) > 1e-9 * Math.max(1, Math.abs(times))) return false;
  return isWithinNumericBounds(value, schema, 'minimum', 'maximum');
}

function satisfiesArraySchema(value: Json[], schema: JsonObject, search: SchemaSearchBudget, depth: number): boolean {
  if (!isWithinNumericBounds(value.length, schema, 'minItems', 'maxItems')) return false;
  if (schema.uniqueItems === true && new Set(value.map((entry) => JSON.stringify(entry))).size < value.length) {
    return false;
  }
  const first = schema.prefixItems;
  const prefix = Array.isArray(first) ? first : [];
  const rest = schema.items;
  return value.every((entry, index) => satisfiesSchema(entry, prefix[index] ?? rest ?? true, search, depth));
}

function satisfiesObjectSchema(
  value: JsonObject,
  schema: JsonObject,
  search: SchemaSearchBudget,
  depth: number,
): boolean {
  const names = Object.keys(value);
  if (!isWithinNumericBounds(names.length, schema, 'minProperties', 'maxProperties')) return false;
  if (filterStrings(schema.required).some((name) => !Object.hasOwn(value, name))) return false;
  const properties = schema.properties;
  const members = isJsonObject(properties) ? properties : {};
  const other = isJsonObject(schema.patternProperties) ? true : (schema.additionalProperties ?? true);
  return names.every((name) =>
    satisfiesSchema(value[name] ?? null, readOwnMember(members, name) ?? other, search, depth),
  );
}

/**
 * Checks whether a value satisfies a schema; patterns and formats are not checked. It chooses between forms of a schema, above
 * all where exactly one branch of a `oneOf` may fit. Once no steps are left, and too deep within references, every value
 * passes.
 */
export function satisfiesSchema(value: Json, schema: Json, search: SchemaSearchBudget, depth = 0): boolean {
  if (typeof schema === 'boolean') return schema;
  if (!isJsonObject(schema) || depth > MAX_CHECK_DEPTH || search.remainingSteps-- <= 0) return true;
  const satisfiesBranch = (branch: Json): boolean => satisfiesSchema(value, branch, search, depth + 1);
  const { $ref, allOf, anyOf, oneOf, not, const: only, enum: choices, type } = schema;

  if (type !== undefined && ![type].flat().some((name) => isOfJsonType(value, jsonToText(name)))) return false;
  if (only !== undefined && JSON.stringify(only) !== JSON.stringify(value)) return false;
  if (Array.isArray(choices) && !choices.some((choice) => JSON.stringify(choice) === JSON.stringify(value)))
    return false;
  if (typeof $ref === 'string' && !satisfiesBranch(resolveSchemaReference($ref, search.root) ?? true)) return false;
  if (Array.isArray(allOf) && !allOf.every(satisfiesBranch)) return false;
  if (Array.isArray(anyOf) && !anyOf.some(satisfiesBranch)) return false;
  if (Array.isArray(oneOf) && oneOf.filter(satisfiesBranch).length !== 1) return false;
  if (not !== undefined && satisfiesBranch(not)) return false;

  if (typeof value === 'string') return isWithinNumericBounds([...value].length, schema, 'minLength', 'maxLength');
  if (typeof value === 'number') return satisfiesNumberSchema(value, schema);
  if (Array.isArray(value)) return satisfiesArraySchema(value, schema, search, depth + 1);
  return !isJsonObject(value) || satisfiesObjectSchema(value, schema, search, depth + 1);
}
