// Every method of the official client, with the simulator behind it and with the edge between them.

import Anthropic, { toFile } from '@anthropic-ai/sdk';
import { APIResource } from '@anthropic-ai/sdk/core/resource';
import { betaJSONSchemaOutputFormat, betaTool } from '@anthropic-ai/sdk/helpers/beta/json-schema';
import { jsonSchemaOutputFormat } from '@anthropic-ai/sdk/helpers/json-schema';
import { describe, expect, test } from 'vitest';
import { MODELS } from '#edge/claude/models/models.ts';
import { toSimulatedModels } from '#edge/claude/simulated-models.ts';
import { createSimulator } from '#simulator/simulator.ts';
import { createTestApp } from '#test/support/app.ts';
import { setBatchUpstream, wakeBatch } from '#test/support/batch-objects.ts';
import { SDK_CALLS, type SdkCall } from '#test/support/sdk/calls.ts';
import { readOutcome, serializeOutcome } from '#test/support/sdk/outcomes.ts';
import { ADDED, NO_CALLS, NOT_OFFERED, OTHERWISE } from './sdk-differences.ts';

type Methods = Record<string, (...args: unknown[]) => unknown>;
const MODEL = 'claude-haiku-5-5';

/** @returns the resources of a client by their paths, found on the object itself */
function resourcesIn(owner: object, path: readonly string[] = []): Map<string, Methods> {
  const found = new Map(path.length > 0 ? [[path.join('.'), owner as Methods]] : []);
  for (const [name, value] of Object.entries(owner)) {
    if (!(value instanceof APIResource)) continue;
    for (const [at, one] of resourcesIn(value, [...path, name])) found.set(at, one);
  }
  return found;
}

/** @returns the methods of a client’s resources, such as `beta.messages.create` */
function methodsIn(client: object): string[] {
  return [...resourcesIn(client)].flatMap(([path, resource]) =>
    Object.getOwnPropertyNames(Object.getPrototypeOf(resource))
      .filter((name) => !/^(?:constructor|_.*)$/.test(name))
      .map((name) => `${path}.${name}`),
  );
}

/** One of the two ways to the simulator. */
interface Way {
  client: Anthropic;
  /** @returns how many requests the edge has passed on */
  passedOn(): number;
  /** Has a batch end. */
  end(batch: string): Promise<void>;
}

/** @returns the way to a simulator, and the way to the same one by an edge */
function ways(): [direct: Way, edge: Way] {
  const clock = { now: Date.now() };
  const simulator = createSimulator({ models: toSimulatedModels(MODELS), faults: true, now: () => clock.now });
  /** As if a tool had made what is uploaded: that can be downloaded. */
  const upstream = async (url: string, init: RequestInit) => {
    const request = new Request(url, init);
    // Thinking is bound to an account: both ways have the same.
    request.headers.set('x-api-key', 'any');
    if (request.headers.get('content-type')?.startsWith('multipart'))
      request.headers.set('sluice-simulate', 'downloadable');
    return await simulator(request);
  };
  const app = createTestApp(async ({ url, method, headers, body }) => {
    const sent = method === 'GET' || method === 'DELETE' ? {} : { body };
    return await upstream(url.href, { method, headers, ...sent });
  });
  setBatchUpstream((url, init) => upstream(String(url), init as RequestInit));
  const clientOf = (fetch: (url: string, init: RequestInit) => Promise<Response>) =>
    new Anthropic({
      apiKey: 'any',
      maxRetries: 0,
      logLevel: 'off',
      baseURL: 'http://localhost:8787',
      fetch: (url, init) => fetch(String(url), init as RequestInit),
    });
  const pass = () => {
    clock.now += 1_000;
  };
  return [
    { client: clientOf(upstream), passedOn: () => 0, end: async () => pass() },
    {
      client: clientOf(app.fetch),
      passedOn: () => app.sent.length,
      end: async (batch) => {
        pass();
        await wakeBatch(batch);
      },
    },
  ];
}

const fileOf = async () => await toFile(new Uint8Array(5).fill(7), 'a.bin');

/** @returns an argument with a file, and with betas that there are, in place of values that the types alone allow */
async function madeReal(argument: unknown): Promise<unknown> {
  const { file, betas } = Object(argument) as { file?: unknown; betas?: unknown };
  if (file === undefined && betas === undefined) return argument;
  return {
    ...(argument as object),
    ...(file === undefined ? {} : { file: await fileOf() }),
    ...(betas === undefined ? {} : { betas: ['files-api-2025-04-14'] }),
  };
}

/** @returns the id of what a method is about, made for it; undefined for an argument that is no id */
async function idFor(name: string, method: string, { client, end }: Way): Promise<string | undefined> {
  if (name === 'modelID') return MODEL;
  if (name === 'fileID') return (await client.files.upload({ file: await fileOf() })).id;
  if (name !== 'messageBatchID') return undefined;
  const params = { model: MODEL, max_tokens: 10, messages: [{ role: 'user' as const, content: 'x' }] };
  const { id } = await client.messages.batches.create({ requests: [{ custom_id: 'a', params }] });
  if (method === 'results' || method === 'delete') await end(id);
  return id;
}

const LOOK = {
  name: 'look',
  description: 'Looks at the weather.',
  input_schema: { type: 'object' as const, properties: { place: { type: 'string' as const } }, required: ['place'] },
};
/** The same tool, which the client runs by itself. */
const { input_schema: inputSchema, ...LOOKING } = LOOK;
const RUN = betaTool({ ...LOOKING, inputSchema, run: (input) => `It rains. ${JSON.stringify(input)}` });
const SHAPE = {
  type: 'object',
  properties: { name: { type: 'string' } },
  required: ['name'],
  additionalProperties: false,
} as const;

/** Calls whose arguments the types do not give: what they take has functions in it. */
const OWN: Readonly<Record<string, (client: Anthropic, asked: Anthropic.MessageCreateParamsNonStreaming) => unknown>> =
  {
    'messages.create streaming': ({ messages }, asked) => messages.create({ ...asked, tools: [LOOK], stream: true }),
    'beta.messages.create streaming': ({ beta }, asked) =>
      beta.messages.create({ ...asked, tools: [LOOK], stream: true }),
    'messages.stream with a tool': ({ messages }, asked) => messages.stream({ ...asked, tools: [LOOK] }),
    'messages.parse': ({ messages }, asked) =>
      messages.parse({ ...asked, output_config: { format: jsonSchemaOutputFormat(SHAPE) } }),
    'beta.messages.parse': ({ beta }, asked) =>
      beta.messages.parse({ ...asked, output_config: { format: betaJSONSchemaOutputFormat(SHAPE) } }),
    'beta.messages.toolRunner': ({ beta }, asked) => beta.messages.toolRunner({ ...asked, tools: [RUN] }),
    'beta.messages.toolRunner unthreaded': ({ beta }, asked) =>
      beta.messages.toolRunner({ ...asked, tools: [RUN], thread: false }),
    'beta.messages.toolRunner streaming': ({ beta }, asked) =>
      beta.messages.toolRunner({ ...asked, tools: [RUN], stream: true }),
    'beta.messages.thread': async ({ beta }) => {
      const thread = beta.messages.thread({ model: MODEL, max_tokens: 100 });
      return [await thread.send(ASKED.messages), await thread.send({ role: 'user', content: 'And in Rome?' })];
    },
  };
const ASKED = {
  model: MODEL,
  max_tokens: 5_000,
  messages: [{ role: 'user' as const, content: 'Look at the weather in Bonn.' }],
};

interface Outcomes {
  call: string;
  direct: unknown;
  edge: unknown;
}

/** Does the same on both ways. */
async function both([direct, edge]: readonly [Way, Way], call: string, does: (way: Way) => unknown): Promise<Outcomes> {
  return { call, direct: await readOutcome(() => does(direct)), edge: await readOutcome(() => does(edge)) };
}

/** Calls a method in all of its forms. */
async function* called(on: readonly [Way, Way], { resource, method, names, forms }: SdkCall): AsyncGenerator<Outcomes> {
  const name = `${resource}.${method}`;
  const own = Object.entries(OWN).filter(([at]) => at.split(' ', 1)[0] === name);
  for (const [at, does] of own) yield await both(on, at, ({ client }) => does(client, ASKED));
  if (/^(?:toolRunner|thread)$/.test(method)) return;
  for (const { addedMember: having, args } of forms) {
    const hasId = typeof args[0] === 'string';
    for (const isStrange of hasId && having === '' ? [false, true] : [false]) {
      yield await both(on, `${name} ${having}${isStrange ? 'strange' : ''}`.trim(), async (way) => {
        const id = hasId && !isStrange ? await idFor(names[0] ?? '', method, way) : undefined;
        const given = await Promise.all(args.map(madeReal));
        return await resourcesIn(way.client)
          .get(resource)
          ?.[method]?.(...(id === undefined ? given : [id, ...given.slice(1)]));
      });
    }
  }
}

/** @returns how outcomes differ, where no table says why; `explained` is the row that does */
function difference({ call, direct, edge }: Outcomes): {
  explained?: (typeof OTHERWISE)[number];
  unexplained?: object;
} {
  const [name = ''] = call.split(' ', 1);
  const added = ADDED.filter(({ methods }) => methods.test(name)).flatMap(({ members }) => members);
  const [theirs, ours] = [serializeOutcome(direct), serializeOutcome(edge, added)];
  if (theirs === ours) return {};
  const explained = OTHERWISE.find((one) => one.call.test(call) && one.direct.test(theirs) && one.edge.test(ours));
  return explained ? { explained } : { unexplained: { call, direct: theirs, edge: ours } };
}

const nameOf = ({ resource, method }: SdkCall) => `${resource}.${method}`;
const isOffered = ({ resource }: SdkCall) =>
  !Object.keys(NOT_OFFERED).some((name) => resource === name || resource.startsWith(`${name}.`));
const walked = SDK_CALLS.filter((call) => !(nameOf(call) in NO_CALLS));

test('the SDK’s types declare exactly the methods of its client', () => {
  const methods = methodsIn(new Anthropic({ apiKey: 'any' }));
  expect(methods.length).toBeGreaterThan(300);
  expect(methods.sort()).toEqual(SDK_CALLS.map(nameOf).sort());
  for (const name of Object.keys(NO_CALLS)) expect(methods).toContain(name);
  // A method that an update brings is found, and is in no table.
  class Dreams extends APIResource {
    dream() {}
  }
  const client = new Anthropic({ apiKey: 'any' });
  expect(methodsIn(Object.assign(client, { dreams: new Dreams(client) }))).toContain('dreams.dream');
});

describe('an SDK method through Sluice', () => {
  const offered = Map.groupBy(walked.filter(isOffered), ({ resource }) => resource);
  const used = new Set<unknown>();

  test.each([...offered])(
    'each method of client.%s has the same result as without Sluice, except for the listed differences',
    async (_, calls) => {
      const on = ways();
      for (const { client } of on) for (const _ of 'ab') await client.files.upload({ file: await fileOf() });
      const unexplained: unknown[] = [];
      let done = 0;
      for (const call of calls) {
        for await (const outcomes of called(on, call)) {
          done++;
          const found = difference(outcomes);
          used.add(found.explained);
          if (found.unexplained) unexplained.push(found.unexplained);
        }
      }
      expect(unexplained).toEqual([]);
      expect(done).toBeGreaterThanOrEqual(calls.length);
    },
  );

  test('every listed difference still occurs', () => {
    expect(OTHERWISE.filter((row) => !used.has(row))).toEqual([]);
  });
});

test('an unsupported SDK method gets a 501 and is not forwarded', async () => {
  const on = ways();
  const wrong: unknown[] = [];
  for (const call of walked.filter((one) => !isOffered(one))) {
    const least = { ...call, forms: call.forms.slice(0, 1) };
    for await (const { call: name, direct, edge } of called(on, least)) {
      const told = { direct: serializeOutcome(direct), edge: serializeOutcome(edge) };
      if (/"status":404/.test(told.direct) && /"status":501,"type":"not_supported"/.test(told.edge)) continue;
      wrong.push({ name, ...told });
    }
  }
  expect(wrong).toEqual([]);
  expect(on[1].passedOn()).toBe(0);
});
