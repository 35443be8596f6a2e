// A validator of its own, so that a mistake of the simulator's is not repeated by its test. It knows what `schemas` makes.

type Schema = Record<string, unknown>;

/** The bounds that a schema sets to numbers, lengths and counts. */
type Bounds = {
  [key in
    | 'minimum'
    | 'maximum'
    | 'exclusiveMinimum'
    | 'exclusiveMaximum'
    | 'multipleOf'
    | 'minLength'
    | 'maxLength'
    | 'minItems'
    | 'maxItems'
    | 'minProperties']: number;
};

function pointer(root: unknown, reference: string): unknown {
  return reference
    .split('/')
    .slice(1)
    .reduce<unknown>((target, key) => (target as Record<string, unknown>)[key], root);
}

const formats: Record<string, RegExp> = {
  date: /^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$/,
  'date-time': /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/,
  time: /^\d\d:\d\d:\d\dZ$/,
  email: /^[\w.+-]+@[\w-]+(\.[\w-]+)+$/,
  uri: /^[a-z]+:\/\/\S+$/,
  uuid: /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
};

function typeName(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}

/** What is wrong with a value, as `path: reason`; nothing if it satisfies the schema. */
export function faultsOf(value: unknown, schema: unknown, root: unknown = schema, path = '$'): string[] {
  if (schema === true) return [];
  if (schema === false) return [`${path}: nothing is allowed here`];
  const s = schema as Schema & Record<string, never>;
  const bounds = schema as Bounds;
  const wrong: string[] = [];
  const demand = (holds: boolean, reason: string): void => {
    if (!holds) wrong.push(`${path}: ${reason}`);
  };
  const sub = (part: unknown): string[] => faultsOf(value, part, root, path);

  if (s.$ref) wrong.push(...sub(pointer(root, s.$ref)));
  for (const part of (s.allOf as unknown[] | undefined) ?? []) wrong.push(...sub(part));
  if (s.anyOf)
    demand(
      (s.anyOf as unknown[]).some((part) => sub(part).length === 0),
      'no branch of anyOf',
    );
  if (s.oneOf)
    demand((s.oneOf as unknown[]).filter((part) => sub(part).length === 0).length === 1, 'not one branch of oneOf');
  if (s.not) demand(sub(s.not).length > 0, 'is what it must not be');
  if ('const' in s) demand(JSON.stringify(value) === JSON.stringify(s.const), 'const');
  if (s.enum)
    demand(
      (s.enum as unknown[]).some((entry) => JSON.stringify(entry) === JSON.stringify(value)),
      'enum',
    );
  if (s.type) {
    const types = [s.type].flat() as string[];
    const fits = types.includes(typeName(value)) || (types.includes('integer') && Number.isInteger(value));
    demand(fits, `${typeName(value)} is not ${types}`);
  }
  if (typeof value === 'number') {
    demand(!(value < bounds.minimum) && !(value > bounds.maximum), `${value} out of bounds`);
    demand(!(value <= bounds.exclusiveMinimum) && !(value >= bounds.exclusiveMaximum), `${value} on the bound`);
    const rest = bounds.multipleOf ? Math.abs(value / bounds.multipleOf - Math.round(value / bounds.multipleOf)) : 0;
    demand(rest < 1e-6, `${value} is no multiple of ${bounds.multipleOf}`);
  }
  if (typeof value === 'string') {
    const length = [...value].length;
    demand(!(length < bounds.minLength) && !(length > bounds.maxLength), `length ${length}`);
    if (s.pattern) demand(new RegExp(s.pattern, 'u').test(value), `${value} does not match ${s.pattern}`);
    if (s.format) demand(formats[s.format]?.test(value) ?? true, `${value} is no ${s.format}`);
  }
  if (Array.isArray(value)) {
    demand(!(value.length < bounds.minItems) && !(value.length > bounds.maxItems), `${value.length} items`);
    if (s.uniqueItems)
      demand(new Set(value.map((entry) => JSON.stringify(entry))).size === value.length, 'items repeat');
    const prefix = (s.prefixItems as unknown[] | undefined) ?? [];
    for (const [index, entry] of value.entries()) {
      wrong.push(...faultsOf(entry, prefix[index] ?? s.items ?? true, root, `${path}[${index}]`));
    }
  }
  if (typeName(value) === 'object') {
    const object = value as Record<string, unknown>;
    const properties = (s.properties as Schema | undefined) ?? {};
    for (const name of (s.required as string[] | undefined) ?? [])
      demand(Object.hasOwn(object, name), `${name} is missing`);
    for (const [name, entry] of Object.entries(object)) {
      const own = Object.hasOwn(properties, name) ? properties[name] : (s.additionalProperties ?? true);
      wrong.push(...faultsOf(entry, own, root, `${path}.${name}`));
    }
    demand(!(Object.keys(object).length < bounds.minProperties), 'too few properties');
  }
  return wrong;
}
