import { UNION_KEYWORDS } from '../../../claude/request/schema-faults.ts';
import { isObject, type JsonObject } from '../../../kit/json/object.ts';

/** What refers to a branch of a union, which would be gone. */
const INTO_UNION = /"#\/(?:anyOf|oneOf|allOf)\//;

/**
 * Makes the schema of a tool's input one that the API takes: an object, without a union at its top. It names what the server's
 * own names. It may allow more together, since the server checks the input itself.
 *
 * @returns undefined where that cannot be said without the union
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

/** What the API accepts as a key of the input itself. */
const PARAMETER_NAME = /^[a-zA-Z0-9_.-]{1,64}$/;
const TYPES_2020_12: readonly unknown[] = ['null', 'boolean', 'object', 'array', 'number', 'string', 'integer'];

const isStringValue = (value: unknown) => typeof value === 'string';
const isNumber = (value: unknown) => typeof value === 'number';
const isBoolean = (value: unknown) => typeof value === 'boolean';
const isWholeNumber = (value: unknown) => Number.isInteger(value) && Number(value) >= 0;
const isSchema = (value: unknown) => isObject(value) || isBoolean(value);
const isSchemaList = (value: unknown) => Array.isArray(value) && value.length > 0 && value.every(isSchema);
const isSchemaRecord = (value: unknown) => isObject(value) && Object.values(value).every(isSchema);
const isNameList = (value: unknown) =>
  Array.isArray(value) && value.every(isStringValue) && new Set(value).size === value.length;
const isJsonSchemaType = (value: unknown) => TYPES_2020_12.includes(value);

/** What JSON Schema 2020-12 says of the values of its keywords. Any value is allowed for the others. */
const KEYWORDS_2020_12: Readonly<Record<string, (value: unknown) => boolean>> = {
  type: (value) =>
    isJsonSchemaType(value) ||
    (isNameList(value) && (value as unknown[]).length > 0 && (value as unknown[]).every(isJsonSchemaType)),
  enum: Array.isArray,
  required: isNameList,
  ...Object.fromEntries(['maximum', 'minimum', 'exclusiveMaximum', 'exclusiveMinimum'].map((name) => [name, isNumber])),
  multipleOf: (value) => isNumber(value) && Number(value) > 0,
  ...Object.fromEntries(
    [
      'maxLength',
      'minLength',
      'maxItems',
      'minItems',
      'maxProperties',
      'minProperties',
      'maxContains',
      'minContains',
    ].map((name) => [name, isWholeNumber]),
  ),
  ...Object.fromEntries(
    ['pattern', 'format', 'title', 'description', '$ref', '$id'].map((name) => [name, isStringValue]),
  ),
  ...Object.fromEntries(['uniqueItems', 'deprecated', 'readOnly', 'writeOnly'].map((name) => [name, isBoolean])),
  examples: Array.isArray,
};
const WITH_SCHEMA = [
  'items',
  'contains',
  'additionalProperties',
  'propertyNames',
  'not',
  'if',
  'then',
  'else',
  'unevaluatedItems',
  'unevaluatedProperties',
];
const WITH_SCHEMAS = ['prefixItems', ...UNION_KEYWORDS];
const WITH_NAMED_SCHEMAS = ['properties', 'patternProperties', 'dependentSchemas', '$defs', 'definitions'];

/**
 * Finds what the API does not accept in the schema of a tool's input: keys with other characters, and what JSON Schema 2020-12
 * does not allow, such as the forms of older dialects.
 *
 * @returns the end of a sentence; undefined if the schema can be sent
 */
export function findInputSchemaFault(schema: JsonObject): string | undefined {
  const key = isObject(schema.properties)
    ? Object.keys(schema.properties).find((name) => !PARAMETER_NAME.test(name))
    : undefined;
  if (key !== undefined)
    return `its parameter ${JSON.stringify(key)} has a name that does not match ${PARAMETER_NAME.source}`;
  const open: { one: unknown; path: string }[] = [{ one: schema, path: '' }];
  for (let next = open.pop(); next; next = open.pop()) {
    const { one, path } = next;
    if (!isObject(one)) continue;
    for (const [name, value] of Object.entries(one)) {
      const at = path === '' ? name : `${path}.${name}`;
      const hasNestedKeyword = (list: readonly string[], isAllowed: (value: unknown) => boolean) =>
        list.includes(name) ? isAllowed(value) : undefined;
      const own = Object.hasOwn(KEYWORDS_2020_12, name) ? KEYWORDS_2020_12[name]?.(value) : undefined;
      const isAllowed =
        own ??
        hasNestedKeyword(WITH_SCHEMA, isSchema) ??
        hasNestedKeyword(WITH_SCHEMAS, isSchemaList) ??
        hasNestedKeyword(WITH_NAMED_SCHEMAS, isSchemaRecord) ??
        true;
      if (!isAllowed) return `${at} in the schema of its input is not valid in JSON Schema 2020-12`;
      if (WITH_SCHEMA.includes(name)) open.push({ one: value, path: at });
      else if (WITH_SCHEMAS.includes(name) || WITH_NAMED_SCHEMAS.includes(name))
        for (const [key, inner] of Object.entries(value as object)) open.push({ one: inner, path: `${at}.${key}` });
    }
  }
  return undefined;
}
