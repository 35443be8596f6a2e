/**
 * Brings a classifier, its labels and how to choose between them, into the one form that is stored, compared and sent.
 */

import { countOptionalProperties, MAX_OPTIONAL_PROPERTIES } from '../../claude/request/schema-faults.ts';
import { createInvalidRequestError } from '../../kit/http/errors.ts';
import { CheckBudget, createValueChecker, findJsonSchemaFault } from '../../kit/json/json-schema.ts';
import { isObject, type JsonObject, removeUndefined } from '../../kit/json/object.ts';
import { resolveSchemaReferences } from '../../kit/json/schema-references.ts';
import type { StoredResourceKind } from '../../registry/versions/find-stored.ts';
import type { ClassifierFields, ClassifierLabel } from '../classifiers.schema.ts';
import { validateExampleLabels } from './labels.ts';

/** A classifier as requests use it. The labels of one with a `schema` are read from it. */
export interface NormalizedClassifier extends Omit<ClassifierFields, 'fields' | 'schema'> {
  labels: ClassifierLabel[];
  multi: boolean;
  allow_none: boolean;
  /** A JSON schema of an object. */
  fields?: JsonObject;
  /** The schema of the whole answer, as it was sent. */
  schema?: JsonObject;
  /** With `schema`: the property that is the label. */
  label_property?: string;
}

/** A classifier as it is stored and returned: its labels and its schema are as they were sent. */
export interface StoredClassifier extends Omit<NormalizedClassifier, 'labels'> {
  labels: NonNullable<ClassifierFields['labels']>;
}

/** The labels of a classifier, and the form of its answers. */
type AnswerForm = Pick<
  NormalizedClassifier,
  'labels' | 'multi' | 'allow_none' | 'fields' | 'schema' | 'label_property'
>;

const MAX_LABELS = 500;
const MAX_LABEL_CHARACTERS = 256;
/** The API takes too long to compile a grammar from a longer schema. */
const MAX_SCHEMA_CHARACTERS = 32_768;
const SCHEMA_EXAMPLE =
  '{"type":"object","properties":{"category":{"type":"string","enum":["billing","bug","other"]}},"required":["category"]}';

/**
 * Brings a classifier into its stored form: equal classifiers get equal text, even if their members were ordered differently.
 *
 * @throws ApiError as `normalizeClassifier`
 */
export function toStoredClassifier(fields: ClassifierFields): StoredClassifier {
  const { labels, schema: _, label_property, ...rest } = normalizeClassifier(fields);
  const { schema } = fields;
  const sent = schema ? labels : (fields.labels ?? []);
  return {
    labels: sent.map((label) => (typeof label === 'string' ? label : toLabelObject(label))),
    ...removeUndefined({ schema, label_property }),
    ...rest,
  };
}

/** @returns a stored classifier as requests use it */
export function normalizeStoredClassifier({ labels, schema, ...stored }: StoredClassifier): NormalizedClassifier {
  // If the schema itself is an enum, its values are the labels and no property contains the label. Drop the schema, because the
  // labels are sufficient.
  const used = stored.label_property === undefined ? undefined : schema;
  return { ...stored, labels: labels.map(toLabelObject), ...(used && { schema: addObjectTypeToSchema(used) }) };
}

function toLabelObject(label: string | ClassifierLabel): ClassifierLabel {
  if (typeof label === 'string') return { name: label };
  const { name, description, examples } = label;
  return removeUndefined({ name, description, examples }) as ClassifierLabel;
}

/**
 * Brings what was sent into the form that requests use: labels are objects, and those of a `schema` are read from it.
 *
 * @throws ApiError 400 that names the fault, if it cannot be a classifier
 */
export function normalizeClassifier(members: ClassifierFields): NormalizedClassifier {
  if (!members.labels && !members.schema) {
    throw createInvalidRequestError('Send `labels`, or a `schema` with the labels as an enum.');
  }
  if (!members.schema && members.label_property !== undefined) {
    throw createInvalidRequestError('label_property: not supported without `schema`. Remove it, or send a schema.');
  }
  const form = members.schema
    ? parseAnswerForm(members.schema, members.label_property)
    : {
        labels: (members.labels ?? []).map(toLabelObject),
        multi: members.multi ?? false,
        allow_none: members.allow_none ?? false,
        ...(members.fields === undefined ? {} : { fields: members.fields }),
      };
  if (members.schema) validateFieldsDerivedFromSchema(members, form);
  if (form.fields && (form.fields.type !== 'object' || !isObject(form.fields.properties))) {
    throw createInvalidRequestError('fields: Input should be a JSON schema of an object, with its properties.');
  }
  const path = members.schema ? 'schema' : 'fields';
  const checked = form.schema ?? form.fields;
  const optional = checked ? countOptionalProperties(validateAndResolveSchema(checked, path)) : 0;
  if (optional > MAX_OPTIONAL_PROPERTIES) {
    throw createInvalidRequestError(
      `${path}: ${optional} of its properties are optional, and Claude supports at most ${MAX_OPTIONAL_PROPERTIES}. List the others in \`required\`; a type may be \`["string", "null"]\`.`,
    );
  }
  const names = form.labels.map(({ name }) => name);
  const repeated = names.find((name, index) => names.indexOf(name) !== index);
  if (names.length > MAX_LABELS || names.some((name) => name.length > MAX_LABEL_CHARACTERS)) {
    throw createInvalidRequestError(
      `schema: supports at most ${MAX_LABELS} labels of at most ${MAX_LABEL_CHARACTERS} characters. Remove or shorten some.`,
    );
  }
  if (repeated !== undefined)
    throw createInvalidRequestError(`labels: ${JSON.stringify(repeated)} is listed twice. Remove one.`);
  checkExamples(members.examples ?? [], form);
  const { labels, multi, allow_none, fields, schema, label_property } = form;
  const { instructions, examples, model, votes, cache_seconds, description } = members;
  return {
    labels,
    multi,
    allow_none,
    ...removeUndefined({ schema, label_property, instructions, examples, fields }),
    ...removeUndefined({ model, votes, cache_seconds, description }),
  };
}

/**
 * Accepts beside a schema what `GET` returns there, so that it can be sent back.
 *
 * @throws ApiError 400 for anything else that the schema determines
 */
function validateFieldsDerivedFromSchema(
  { labels, multi, allow_none, fields }: ClassifierFields,
  form: AnswerForm,
): void {
  const sent = { labels: labels?.map(toLabelObject), multi, allow_none, fields };
  const [other] =
    Object.entries(removeUndefined(sent)).find(
      ([name, value]) => JSON.stringify(value) !== JSON.stringify(form[name as keyof AnswerForm]),
    ) ?? [];
  if (other === undefined) return;
  throw createInvalidRequestError(
    `${other}: differs from the value that \`schema\` determines. Remove one of the two.`,
  );
}

/** @throws ApiError 400 for an example that the classifier could not answer */
function checkExamples(examples: NonNullable<ClassifierFields['examples']>, form: AnswerForm): void {
  const check =
    form.schema &&
    createValueChecker(resolveSchema(form.schema), { root: 'output', closed: true, budget: new CheckBudget() });
  for (const [index, example] of examples.entries()) {
    const path = `examples.${index}`;
    if (!check) {
      if (example.output)
        throw createInvalidRequestError(
          `${path}.output: supported only by a classifier with a \`schema\`. Send \`label\` instead.`,
        );
      validateExampleLabels(example, path, form, 'this classifier');
      if (example.fields && !form.fields)
        throw createInvalidRequestError(`${path}.fields: this classifier extracts no fields. Remove it.`);
      continue;
    }
    const { output, input: _, ...others } = example;
    const [other] = Object.keys(removeUndefined(others));
    if (output === undefined || other !== undefined) {
      throw createInvalidRequestError(
        `${path}: requires \`output\`, the complete object that the schema describes${other === undefined ? '' : `, instead of \`${other}\``}.`,
      );
    }
    const fault = check(output);
    // An example that is too large to be checked costs only accuracy if it is wrong.
    if (fault && !fault.isUnchecked)
      throw createInvalidRequestError(`${path}.${fault.path}: does not match the schema. ${fault.problem}`);
  }
}

export function parseStoredClassifierJson(text: string): StoredClassifier {
  return JSON.parse(text) as StoredClassifier;
}

/** @returns a schema with its type, which many leave out and the API requires */
function addObjectTypeToSchema(schema: JsonObject): JsonObject {
  return isObject(schema.properties) && schema.type === undefined ? { ...schema, type: 'object' } : schema;
}

/** @returns the schema with its references resolved. @throws ApiError 400 that names the fault */
function validateAndResolveSchema(schema: JsonObject, path: string): JsonObject {
  if (JSON.stringify(schema).length > MAX_SCHEMA_CHARACTERS) {
    throw createInvalidRequestError(
      `${path}: a schema can have at most ${MAX_SCHEMA_CHARACTERS} characters. Shorten it.`,
    );
  }
  const { schema: resolved, fault } = resolveSchemaReferences(schema);
  const found = fault ?? findJsonSchemaFault(resolved);
  if (found !== undefined || !resolved) throw createInvalidRequestError(`${path}: ${found}.`);
  return resolved;
}

/** @returns a stored schema with its references resolved. @throws Error for a schema that was not checked */
export function resolveSchema(schema: JsonObject): JsonObject {
  const { schema: resolved, fault } = resolveSchemaReferences(schema);
  if (!resolved) throw new Error(`A stored schema cannot be resolved: ${fault}`);
  return resolved;
}

/** The names by which a property is taken for the label, before any other enum of the schema. */
const LABEL_NAMES = ['label', 'labels', 'category', 'class', 'type'];

/** A property that can be the label: an enum of strings, or with `multi` a list of them. */
interface LabelProperty extends Pick<NormalizedClassifier, 'labels' | 'multi' | 'allow_none'> {
  name: string;
}

/**
 * Reads the labels from a schema.
 *
 * @param wanted the property that is the label, if the caller names one
 * @throws ApiError 400 for a schema without an enum of two or more strings
 */
function parseAnswerForm(sentSchema: JsonObject, wanted: string | undefined): AnswerForm {
  const schema = addObjectTypeToSchema(sentSchema);
  const resolved = validateAndResolveSchema(schema, 'schema');
  const choices = parseLabelChoices(resolved);
  // If the schema itself is an enum, its values are the labels.
  if (choices && wanted === undefined) return { ...choices, multi: false };
  const properties = isObject(resolved.properties) ? resolved.properties : {};
  const required = (Array.isArray(resolved.required) ? resolved.required : []) as string[];
  const possible = Object.entries(properties).flatMap(
    ([name, property]) => parseLabelProperty(name, property, required.includes(name)) ?? [],
  );
  if (wanted !== undefined && !possible.some(({ name }) => name === wanted)) {
    const names = possible.map(({ name }) => JSON.stringify(name)).join(', ');
    throw createInvalidRequestError(
      `label_property: ${JSON.stringify(wanted)} is not a property of the schema with an enum of two or more strings. ${names === '' ? `Such a schema is ${SCHEMA_EXAMPLE}` : `It can be ${names}`}.`,
    );
  }
  const single = possible.filter(({ multi }) => !multi);
  const labels = single.length > 0 ? single : possible;
  const isNamed = (wantedName: string) => possible.find(({ name }) => name === wantedName);
  const chosen =
    (wanted === undefined ? undefined : isNamed(wanted)) ??
    LABEL_NAMES.map(isNamed).find((property) => property !== undefined) ??
    required.flatMap((wantedName) => labels.filter(({ name }) => name === wantedName))[0] ??
    labels[0];
  if (!chosen) {
    throw createInvalidRequestError(
      `schema: no property is an enum of two or more strings, so there is no label to choose. Add one, as in ${SCHEMA_EXAMPLE}.`,
    );
  }
  const { name: label_property, ...labelled } = chosen;
  return { ...labelled, schema, label_property };
}

function parseLabelProperty(name: string, property: unknown, isRequired: boolean): LabelProperty | undefined {
  const choices = parseLabelChoices(property);
  if (choices) return { ...choices, name, multi: false, allow_none: choices.allow_none || !isRequired };
  const list = unwrapNullableSchema(property);
  const several = isObject(list) && list.type === 'array' ? parseLabelChoices(list.items) : undefined;
  if (!several || !isObject(list)) return undefined;
  const needsOne = isRequired && list === property && Number(list.minItems ?? 0) >= 1;
  return { ...several, name, multi: true, allow_none: !needsOne };
}

/** @returns the only alternative to null of a schema that has one; else the schema itself */
function unwrapNullableSchema(schema: unknown): unknown {
  const branches = isObject(schema) ? (schema.anyOf ?? schema.oneOf) : undefined;
  if (!Array.isArray(branches)) return schema;
  const others = branches.filter((branch) => !(isObject(branch) && branch.type === 'null'));
  return others.length === 1 ? others[0] : schema;
}

/** @returns the labels of an enum of two or more strings, or of alternatives of strings; null among them means no label */
function parseLabelChoices(schema: unknown): Pick<NormalizedClassifier, 'labels' | 'allow_none'> | undefined {
  const choices = parseStringChoices(schema);
  if (!choices) return undefined;
  const labels = choices.flatMap(({ name, description }) =>
    name === null ? [] : description === undefined ? { name } : { name, description },
  );
  return labels.length < 2 ? undefined : { labels, allow_none: labels.length < choices.length };
}

interface StringChoice {
  name: string | null;
  description?: string;
}

/** @returns the strings, and null, that a schema allows; undefined if it allows anything else */
function parseStringChoices(schema: unknown): StringChoice[] | undefined {
  if (!isObject(schema)) return undefined;
  const { type, enum: values, description, anyOf, oneOf, allOf } = schema;
  if (Array.isArray(values)) {
    const names = values.filter((value): value is string | null => value === null || typeof value === 'string');
    return names.length === values.length ? names.map((name) => ({ name })) : undefined;
  }
  if (type === 'null' || schema.const === null) return [{ name: null }];
  if (typeof schema.const === 'string') {
    return [{ name: schema.const, ...(typeof description === 'string' && { description }) }];
  }
  if (Array.isArray(allOf)) return allOf.length === 1 ? parseStringChoices(allOf[0]) : undefined;
  const branches: unknown = anyOf ?? oneOf;
  if (!Array.isArray(branches)) return undefined;
  const choices = branches.map(parseStringChoices);
  return choices.every((one) => one !== undefined) ? choices.flat() : undefined;
}

export const CLASSIFIERS: StoredResourceKind<StoredClassifier, '/classifiers'> = {
  kind: 'classifier',
  path: '/classifiers',
  memoryBytes: 8 * 1024 * 1024,
  read: (bytes) => parseStoredClassifierJson(new TextDecoder().decode(bytes)),
  // This is an estimate: a string takes at most two bytes per character, and the parsed objects take about as much again.
  memorySize: (_, bytes) => bytes * 4,
};
