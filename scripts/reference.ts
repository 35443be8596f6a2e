/** Makes the page of the reference of the OpenAPI document: each route, each schema and each error, by its own anchor. */
import type { createOpenApiDocument } from './described-edge.ts';
import { escapeHtml, markdownParser, renderCode, renderFrame } from './guides.ts';

type Reference = ReturnType<typeof createOpenApiDocument>;
type Operations = NonNullable<NonNullable<Reference['paths']>[string]>;
type Operation = NonNullable<Operations['get']>;
type Parameter = { name: string; in: string; required?: boolean; description?: string; schema: Schema };
type Media = Record<string, { schema?: Schema; example?: unknown; examples?: Record<string, { value?: unknown }> }>;
type DescribedAnswer = { $ref?: string; description?: string; headers?: object; content?: Media };

/** The parts of JSON Schema that occur in the document. */
interface Schema {
  $ref?: string;
  type?: string | readonly string[];
  description?: string;
  properties?: Readonly<Record<string, Schema>>;
  required?: readonly string[];
  additionalProperties?: Schema | boolean;
  items?: Schema;
  anyOf?: readonly Schema[];
  enum?: readonly unknown[];
  const?: unknown;
  [bound: string]: unknown;
}

/** A place on the page that the list beside it names. */
interface ReferenceSection {
  id: string;
  name: string;
  html: string;
}

const METHODS = ['get', 'post', 'put', 'patch', 'delete'] as const;

/** @returns the page, as HTML */
export function renderReference(reference: Reference): string {
  const { info, tags = [], paths = {}, components = {} } = reference;
  const schemas = Object.entries((components.schemas ?? {}) as Record<string, Schema>);
  const answers = Object.entries((components.responses ?? {}) as Record<string, DescribedAnswer>);
  const places: [title: string, about: string, places: ReferenceSection[]][] = [
    ...tags.map(({ name, description = '' }): [string, string, ReferenceSection[]] => [
      name,
      description,
      Object.entries(paths).flatMap(([path, operations]) =>
        METHODS.flatMap((method) => {
          const operation = operations?.[method];
          return operation?.tags?.includes(name) ? [renderRoute(method.toUpperCase(), path, operation, reference)] : [];
        }),
      ),
    ]),
    [
      'Schemas',
      'The schemas of request bodies and responses.',
      schemas.map(([name, schema]) => renderSchema(name, schema)),
    ],
    ['Errors', 'Every error has this envelope and one of these statuses.', answers.map(renderError)],
  ];
  const list = places.map(([title, , each]) => {
    const links = each.map(({ id, name }) => `<li><a href="#${id}">${name}</a></li>`);
    return `<li><span class="heading">${title}</span><ul>${links.join('')}</ul></li>`;
  });
  const main = places.map(
    ([title, about, each]) =>
      `<h2>${title}</h2>${renderParagraphs(about)}${each
        .map(({ id, html }) => `<section id="${id}" aria-labelledby="${id}-name">${html}</section>`)
        .join('')}`,
  );
  return renderFrame({
    title: 'Sluice: API reference',
    part: 'Reference',
    all: 'All routes',
    list: `<li><input type="search" aria-label="Search the reference" placeholder="Search" autocomplete="off" /><p class="quiet found" role="status"></p></li>${list.join('')}`,
    main: `<h1>API reference</h1>${renderParagraphs(info.description ?? '')}<p>This page and <a href="/docs/openapi.json">its OpenAPI ${reference.openapi} document</a> describe the routes of all plugins. <code>GET /openapi.json</code> returns only the routes of this deployment.</p>${main.join('')}`,
  });
}

function renderRoute(method: string, path: string, operation: Operation, reference: Reference): ReferenceSection {
  const { operationId: id = '', summary = '', description = '', responses = {} } = operation;
  const parameters = (operation.parameters ?? []) as Parameter[];
  const body = (operation.requestBody as { content?: Media } | undefined)?.content ?? {};
  const told = Object.entries(responses as Record<string, DescribedAnswer>);
  const name = `<span class="method">${method}</span> ${escapeHtml(path).replaceAll('/', '/<wbr>')}`;
  const errors = told.flatMap(([status, { $ref }]) => ($ref ? [`<a href="#error-${status}">${status}</a>`] : []));
  return {
    id,
    name,
    html: [
      `<h3 id="${id}-name"><a href="#${id}"><code>${name}</code></a></h3><p class="summary">${renderInline(summary)}</p>`,
      renderParagraphs(description),
      parameters.length > 0 &&
        `<h4>Parameters</h4><ul class="members">${parameters
          .map(({ name: of, in: where, required = false, description: about, schema }) =>
            renderMember(of, { ...schema, description: about ?? schema.description ?? '' }, required, where),
          )
          .join('')}</ul>`,
      ...Object.entries(body).map(
        ([type, { schema = {} }]) =>
          `<h4>Body <span class="quiet">${type}${schema.$ref ? `, ${typeName(schema)}` : ''}</span></h4>${renderMembers(resolveReference(schema, reference))}`,
      ),
      `<h4>Answers</h4><ul class="members">${told.map(([status, answer]) => renderAnswer(status, answer)).join('')}</ul>`,
      errors.length > 0 && `<p>Errors: ${errors.join(', ')}.</p>`,
      `<h4>Example</h4>${renderCode(curlCommand(method, path, parameters, body, operation), 'sh')}`,
    ]
      .filter(Boolean)
      .join(''),
  };
}

function renderAnswer(status: string, { $ref, description = '', headers = {}, content = {} }: DescribedAnswer): string {
  if ($ref) return '';
  const names = Object.keys(headers).filter((name) => !name.endsWith('request-id'));
  const bodies = Object.entries(content).map(
    ([type, { schema = {}, example }]) =>
      `<br /><span class="quiet">${type}: ${typeName(schema)}</span>${renderMembers(schema)}<details><summary>Example</summary>${formatExample(example)}</details>`,
  );
  const told = names.length === 0 ? '' : ` Headers: ${names.map((name) => `<code>${name}</code>`).join(', ')}.`;
  return `<li><code>${status}</code> ${renderInline(description)}${told}${bodies.join('')}</li>`;
}

function renderSchema(name: string, schema: Schema): ReferenceSection {
  const id = `schema-${name}`;
  const about = `<p>${renderInline(schema.description ?? '')} ${typeName(schema)}</p>`;
  return { id, name, html: `<h3 id="${id}-name"><a href="#${id}">${name}</a></h3>${about}${renderMembers(schema)}` };
}

function renderError([name, { description = '', content = {} }]: [string, DescribedAnswer]): ReferenceSection {
  const status = name.replace('Error', '');
  const id = `error-${status}`;
  const examples = Object.values(content).flatMap(({ examples: all = {} }) => Object.entries(all));
  const types = examples.map(([type, { value }]) => `<p><code>${type}</code></p>${formatExample(value)}`).join('');
  return {
    id,
    name: status,
    html: `<h3 id="${id}-name"><a href="#${id}">${status}</a></h3>${renderParagraphs(description)}${types}`,
  };
}

/** @returns the members of an object, and of what lists and choices hold, as a list; empty if there are none */
function renderMembers(schema: Schema): string {
  const { properties = {}, required = [], items, anyOf = [], additionalProperties: others } = schema;
  const lists = [
    Object.entries(properties)
      .map(([name, of]) => renderMember(name, of, required.includes(name)))
      .join(''),
    ...anyOf.map((choice) =>
      needsParagraph(choice) ? `<li>${describeType(choice)}${renderMembers(choice)}</li>` : '',
    ),
  ].join('');
  const inside = [items, typeof others === 'object' ? others : undefined].map((of) => (of ? renderMembers(of) : ''));
  return (lists === '' ? '' : `<ul class="members">${lists}</ul>`) + inside.join('');
}

function renderMember(name: string, schema: Schema, required: boolean, where = ''): string {
  const notes = [where && `in the ${where}`, required ? 'required' : ''].filter((note) => note !== '');
  return `<li><code>${escapeHtml(name)}</code> ${describeType(schema, notes)}${renderMembers(schema)}</li>`;
}

/** @returns the type of a schema with its bounds, and what it is for */
function describeType(schema: Schema, notes: readonly string[] = []): string {
  const about = renderInline(schema.description ?? '');
  return `<span class="quiet">${[typeName(schema), ...describeBounds(schema), ...notes].join(', ')}</span>${about && `<br />${about}`}`;
}

function typeName({
  $ref,
  type,
  items,
  anyOf,
  enum: values,
  const: only,
  additionalProperties: others,
}: Schema): string {
  if ($ref) {
    const name = $ref.split('/').at(-1) ?? '';
    return `<a href="#schema-${name}">${name}</a>`;
  }
  if (only !== undefined) return `<code>${escapeHtml(JSON.stringify(only))}</code>`;
  if (values) return values.map((value) => `<code>${escapeHtml(JSON.stringify(value))}</code>`).join(' or ');
  if (anyOf) return [...new Set(anyOf.map(typeName))].join(' or ');
  if (type === undefined) return 'anything';
  if (type === 'array') return items && typeName(items) !== 'anything' ? `list of ${typeName(items)}` : 'list';
  const named = [type].flat().join(' or ');
  return typeof others === 'object' && Object.keys(others).length > 0 ? `${named} of ${typeName(others)}` : named;
}

/** How the bounds of a schema are said. */
const BOUNDS: readonly [name: string, say: (bound: string) => string][] = [
  ['minimum', (bound) => `≥ ${bound}`],
  ['exclusiveMinimum', (bound) => `> ${bound}`],
  ['maximum', (bound) => `≤ ${bound}`],
  ['exclusiveMaximum', (bound) => `< ${bound}`],
  ['minLength', (bound) => `at least ${bound} long`],
  ['maxLength', (bound) => `at most ${bound} long`],
  ['minItems', (bound) => `at least ${bound} items`],
  ['maxItems', (bound) => `at most ${bound} items`],
  ['format', (bound) => bound],
  ['pattern', (bound) => `<code>${bound}</code>`],
  ['default', (bound) => `by default <code>${bound}</code>`],
];

function describeBounds(schema: Schema): string[] {
  return BOUNDS.flatMap(([name, say]) => {
    const bound = schema[name];
    return bound === undefined ? [] : [say(escapeHtml(typeof bound === 'string' ? bound : JSON.stringify(bound)))];
  });
}

/** @returns whether a choice has more to say than its type */
function needsParagraph(choice: Schema): boolean {
  return choice.description !== undefined || describeBounds(choice).length > 0 || renderMembers(choice) !== '';
}

function resolveReference(schema: Schema, { components }: Reference): Schema {
  const name = schema.$ref?.split('/').at(-1);
  return name === undefined ? schema : ((components?.schemas?.[name] ?? {}) as Schema);
}

/** @returns the command that asks for a route, with its example */
function curlCommand(
  method: string,
  path: string,
  parameters: Parameter[],
  body: Media,
  { security }: Operation,
): string {
  const filled = path.replaceAll(/\{(\w+)\}/g, (_, name: string) => {
    return String(parameters.find((one) => one.name === name)?.schema.example ?? name);
  });
  const [type, sent] = Object.entries(body)[0] ?? [];
  const lines = [`curl ${method === 'GET' ? '' : `-X ${method} `}http://localhost:8787${filled}`];
  if (security === undefined) lines.push('-H "authorization: Bearer $SLUICE_TOKEN"');
  if (type === 'multipart/form-data') lines.push('-F file=@notes.txt');
  else if (type !== undefined) {
    const text = typeof sent?.example === 'string' ? sent.example : JSON.stringify(sent?.example, null, 2);
    lines.push(`-H 'content-type: ${type}'`, `-d '${text.replaceAll("'", "'\\''")}'`);
  }
  return lines.join(' \\\n  ');
}

function formatExample(example: unknown): string {
  if (example === undefined) return '';
  return typeof example === 'string'
    ? renderCode(example, 'text')
    : renderCode(JSON.stringify(example, null, 2), 'json');
}

function renderInline(text: string): string {
  return markdownParser.renderInline(text);
}

function renderParagraphs(text: string): string {
  return markdownParser.render(text);
}
