import { asText, isObject, type Json, type JsonObject, member, stringsIn } from '../request/json.ts';
import { numberOf, referenced, type Search } from './schema-forms.ts';

/** A schema that is deeper than this refers to itself. */
const DEEPEST_CHECK = 250;

const TYPE_CHECKS = new Map<string, (value: Json) => boolean>([
  ['null', (value) => value === null],
  ['array', Array.isArray],
  ['object', isObject],
  ['integer', Number.isInteger],
]);

function isType(value: Json, type: string): boolean {
  return TYPE_CHECKS.get(type)?.(value) ?? typeof value === type;
}

function within(value: number, schema: JsonObject, least: string, most: string): boolean {
  return value >= (numberOf(schema, least) ?? -Infinity) && value <= (numberOf(schema, most) ?? Infinity);
}

function isNumberWithin(value: number, schema: JsonObject): boolean {
  if (value <= (numberOf(schema, 'exclusiveMinimum') ?? -Infinity)) return false;
  if (value >= (numberOf(schema, 'exclusiveMaximum') ?? Infinity)) return false;
  const step = numberOf(schema, 'multipleOf') ?? 0;
  const times = step > 0 ? value / step : 0;
  if (Math.abs(times - Math.round(times)) > 1e-9 * Math.max(1, Math.abs(times))) return false;
  return within(value, schema, 'minimum', 'maximum');
}

function isListWithin(value: Json[], schema: JsonObject, search: Search, depth: number): boolean {
  if (!within(value.length, schema, 'minItems', 'maxItems')) return false;
  if (schema.uniqueItems === true && new Set(value.map((entry) => JSON.stringify(entry))).size < value.length) {
    return false;
  }
  const first = schema.prefixItems;
  const prefix = Array.isArray(first) ? first : [];
  const rest = schema.items;
  return value.every((entry, index) => satisfies(entry, prefix[index] ?? rest ?? true, search, depth));
}

function isObjectWithin(value: JsonObject, schema: JsonObject, search: Search, depth: number): boolean {
  const names = Object.keys(value);
  if (!within(names.length, schema, 'minProperties', 'maxProperties')) return false;
  if (stringsIn(schema.required).some((name) => !Object.hasOwn(value, name))) return false;
  const properties = schema.properties;
  const members = isObject(properties) ? properties : {};
  const other = isObject(schema.patternProperties) ? true : (schema.additionalProperties ?? true);
  return names.every((name) => satisfies(value[name] ?? null, member(members, name) ?? other, search, depth));
}

/**
 * Tells whether a value satisfies a schema; patterns and formats are not checked. It chooses between forms of a schema,
 * above all where exactly one branch of a `oneOf` may fit. Once no steps are left, and too deep within references, every
 * value passes.
 */
export function satisfies(value: Json, schema: Json, search: Search, depth = 0): boolean {
  if (typeof schema === 'boolean') return schema;
  if (!isObject(schema) || depth > DEEPEST_CHECK || search.left-- <= 0) return true;
  const fits = (branch: Json): boolean => satisfies(value, branch, search, depth + 1);
  const { $ref, allOf, anyOf, oneOf, not, const: only, enum: choices, type } = schema;

  if (type !== undefined && ![type].flat().some((name) => isType(value, asText(name)))) return false;
  if (only !== undefined && JSON.stringify(only) !== JSON.stringify(value)) return false;
  if (Array.isArray(choices) && !choices.some((choice) => JSON.stringify(choice) === JSON.stringify(value)))
    return false;
  if (typeof $ref === 'string' && !fits(referenced($ref, search.root) ?? true)) return false;
  if (Array.isArray(allOf) && !allOf.every(fits)) return false;
  if (Array.isArray(anyOf) && !anyOf.some(fits)) return false;
  if (Array.isArray(oneOf) && oneOf.filter(fits).length !== 1) return false;
  if (not !== undefined && fits(not)) return false;

  if (typeof value === 'string') return within([...value].length, schema, 'minLength', 'maxLength');
  if (typeof value === 'number') return isNumberWithin(value, schema);
  if (Array.isArray(value)) return isListWithin(value, schema, search, depth + 1);
  return !isObject(value) || isObjectWithin(value, schema, search, depth + 1);
}
