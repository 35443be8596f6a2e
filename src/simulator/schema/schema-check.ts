import { isObject, type Json, type JsonObject, jsonToText, readMember, stringItemsOf } from '../request/json.ts';
import { numberKeywordOf, resolveReference, type SchemaSearch } from './schema-forms.ts';

/** A schema that is deeper than this refers to itself. */
const MAX_CHECK_DEPTH = 250;

const TYPE_CHECKS = new Map<string, (value: Json) => boolean>([
  ['null', (value) => value === null],
  ['array', Array.isArray],
  ['object', isObject],
  ['integer', Number.isInteger],
]);

function isType(value: Json, type: string): boolean {
  return TYPE_CHECKS.get(type)?.(value) ?? typeof value === type;
}

function isWithinBounds(value: number, schema: JsonObject, minimumKeyword: string, maximumKeyword: string): boolean {
  return (
    value >= (numberKeywordOf(schema, minimumKeyword) ?? -Infinity) &&
    value <= (numberKeywordOf(schema, maximumKeyword) ?? Infinity)
  );
}

function isValidNumber(value: number, schema: JsonObject): boolean {
  if (value <= (numberKeywordOf(schema, 'exclusiveMinimum') ?? -Infinity)) return false;
  if (value >= (numberKeywordOf(schema, 'exclusiveMaximum') ?? Infinity)) return false;
  const step = numberKeywordOf(schema, 'multipleOf') ?? 0;
  const times = step > 0 ? value / step : 0;
  if (Math.abs(times - Math.round(times)) > 1e-9 * Math.max(1, Math.abs(times))) return false;
  return isWithinBounds(value, schema, 'minimum', 'maximum');
}

function isValidList(value: Json[], schema: JsonObject, search: SchemaSearch, depth: number): boolean {
  if (!isWithinBounds(value.length, schema, 'minItems', 'maxItems')) return false;
  if (schema.uniqueItems === true && new Set(value.map((entry) => JSON.stringify(entry))).size < value.length) {
    return false;
  }
  const first = schema.prefixItems;
  const prefix = Array.isArray(first) ? first : [];
  const rest = schema.items;
  return value.every((entry, index) => satisfiesSchema(entry, prefix[index] ?? rest ?? true, search, depth));
}

function isValidObject(value: JsonObject, schema: JsonObject, search: SchemaSearch, depth: number): boolean {
  const names = Object.keys(value);
  if (!isWithinBounds(names.length, schema, 'minProperties', 'maxProperties')) return false;
  if (stringItemsOf(schema.required).some((name) => !Object.hasOwn(value, name))) return false;
  const properties = schema.properties;
  const members = isObject(properties) ? properties : {};
  const other = isObject(schema.patternProperties) ? true : (schema.additionalProperties ?? true);
  return names.every((name) => satisfiesSchema(value[name] ?? null, readMember(members, name) ?? other, search, depth));
}

/**
 * Tells whether a value satisfies a schema; patterns and formats are not checked. It chooses between forms of a schema,
 * above all where exactly one branch of a `oneOf` may fit. Once no steps are left, and too deep within references, every
 * value passes.
 */
export function satisfiesSchema(value: Json, schema: Json, search: SchemaSearch, depth = 0): boolean {
  if (typeof schema === 'boolean') return schema;
  if (!isObject(schema) || depth > MAX_CHECK_DEPTH || search.remainingSteps-- <= 0) return true;
  const isSatisfiedBranch = (branch: Json): boolean => satisfiesSchema(value, branch, search, depth + 1);
  const { $ref, allOf, anyOf, oneOf, not, const: only, enum: choices, type } = schema;

  if (type !== undefined && ![type].flat().some((name) => isType(value, jsonToText(name)))) return false;
  if (only !== undefined && JSON.stringify(only) !== JSON.stringify(value)) return false;
  if (Array.isArray(choices) && !choices.some((choice) => JSON.stringify(choice) === JSON.stringify(value)))
    return false;
  if (typeof $ref === 'string' && !isSatisfiedBranch(resolveReference($ref, search.root) ?? true)) return false;
  if (Array.isArray(allOf) && !allOf.every(isSatisfiedBranch)) return false;
  if (Array.isArray(anyOf) && !anyOf.some(isSatisfiedBranch)) return false;
  if (Array.isArray(oneOf) && oneOf.filter(isSatisfiedBranch).length !== 1) return false;
  if (not !== undefined && isSatisfiedBranch(not)) return false;

  if (typeof value === 'string') return isWithinBounds([...value].length, schema, 'minLength', 'maxLength');
  if (typeof value === 'number') return isValidNumber(value, schema);
  if (Array.isArray(value)) return isValidList(value, schema, search, depth + 1);
  return !isObject(value) || isValidObject(value, schema, search, depth + 1);
}
