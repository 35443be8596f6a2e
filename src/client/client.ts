import type { EscapedPathSegment, PathRemainderBelow, ServedRoutePath } from '../edge/answers.ts';
import { createBatchesClient } from './batches.ts';
import { createConversationsClient } from './conversations.ts';
import type {
  AgentPut,
  BackgroundRequest,
  ClassifierPut,
  ClassifyRequest,
  ClassifyResponse,
  ConversationTurn,
  CountRequest,
  EvaluateRequest,
  Evaluation,
  ListedRequest,
  ListRequestsOptions,
  MessageRequest,
  NamedResourceRow,
  Page,
  PageRequest,
  PrefixPut,
  PrefixResponse,
  StoredAgent,
  StoredClassifier,
  StoredPrefix,
  TokenCountResponse,
  UsageReport,
  UsageRequest,
  VersionRow,
} from './requests.ts';
import { Run, type RunRequest } from './run.ts';
import { MessageStream, type MessageStreamOptions } from './stream.ts';
import {
  type ClientOptions,
  createIdempotencyKey,
  encodePathSegment,
  type RouteCallOptions,
  Transport,
} from './transport.ts';

/** A client of one edge. */
export type Client = ReturnType<typeof createClient>;

/**
 * Makes a client of one edge.
 *
 * @example
 * const sluice = createClient({ baseURL: 'https://edge.example.com', token: () => fetchToken() });
 * const stream = sluice.messages.stream({ conversation: 'trip', model, max_tokens: 4_096, messages });
 * for await (const text of stream.textDeltas()) show(text);
 */
export function createClient(options: ClientOptions) {
  const transport = new Transport(options);
  const stream = (request: MessageRequest, streamOptions?: MessageStreamOptions) =>
    new MessageStream(transport, { conversation: request.conversation, body: JSON.stringify(request) }, streamOptions);
  return {
    messages: {
      /**
       * Sends a request, and yields the events of the answer as they arrive. In a conversation a lost connection is resumed;
       * otherwise it throws `connection_error`.
       *
       * @example
       * const stream = sluice.messages.stream({ model, max_tokens: 4_096, messages });
       * for await (const event of stream) show(event.type);
       */
      stream,
      /**
       * Begins a turn in the background. Its end is delivered to `deliver_url`. It needs a conversation.
       *
       * @example
       * const { id } = await sluice.messages.begin({ conversation: 'report', model, max_tokens: 4_096, messages });
       * show((await sluice.conversations.turn('report', id)).status);
       */
      begin: (request: BackgroundRequest, idempotencyKey = createIdempotencyKey()): Promise<ConversationTurn> =>
        transport.requestJson('/messages', {
          method: 'POST',
          body: { ...request, background: true },
          headers: { 'idempotency-key': idempotencyKey },
        }),
      /**
       * The same as `stream`, with tools that run here: sends their results and asks again, until an answer calls no tool.
       *
       * @example
       * const weather = { name: 'get_weather', input_schema: { type: 'object' as const }, run: () => 'It is sunny.' };
       * show(await sluice.messages.run({ model, max_tokens: 4_096, messages, tools: [weather] }).text());
       */
      run: (request: RunRequest, how?: MessageStreamOptions) => new Run((turn) => stream(turn, how), request, how),
    },
    batches: createBatchesClient(transport),
    conversations: createConversationsClient(transport),
    /**
     * Counts the tokens of a prompt. The result also contains whether it fits its model, and its cost as input.
     *
     * @example
     * const { input_tokens, fits } = await sluice.countTokens({ model, messages });
     * show(input_tokens, fits);
     */
    countTokens: (request: CountRequest): Promise<TokenCountResponse> =>
      transport.requestJson('/count-tokens', { method: 'POST', body: request }),
    agents: createStoredResourceClient<AgentPut, StoredAgent, StoredAgent>(transport, '/agents'),
    prefixes: {
      ...createStoredResourceClient<PrefixPut, PrefixResponse, StoredPrefix>(transport, '/prefixes'),
    },
    /**
     * Labels one text, or several texts in one request. With a `schema` the result has the whole object as `output`.
     *
     * @throws SluiceError if the only input cannot be labelled; of several inputs each has its own error
     * @example
     * const { label } = await sluice.classify({ labels: ['praise', 'complaint'], input: 'It broke at once.' });
     * show(label);
     */
    classify: <R extends ClassifyRequest>(request: R): Promise<ClassifyResponse<R>> =>
      transport.requestJson('/classify', { method: 'POST', body: request }),
    classifiers: {
      ...createStoredResourceClient<ClassifierPut, StoredClassifier, StoredClassifier>(transport, '/classifiers'),
      /**
       * Evaluates a classifier, or several candidates, on examples whose labels are known.
       *
       * @example
       * const examples = [{ input: 'It broke at once.', label: 'complaint' }];
       * show(await sluice.classifiers.evaluate('tickets', { examples }));
       */
      evaluate: (name: string, request: EvaluateRequest): Promise<Evaluation> =>
        transport.requestJson(`/classifiers/${encodePathSegment(name)}/evaluate`, { method: 'POST', body: request }),
    },
    /**
     * Gets what was spent, as sums by day, model, conversation, prefix or agent, in US dollars.
     *
     * @example
     * const { data } = await sluice.usage({ group_by: 'conversation' });
     * for (const { key, cost_usd } of data) show(key, cost_usd);
     */
    usage: (request?: UsageRequest): Promise<UsageReport> => transport.requestJson('/usage', { query: request }),
    /** Lists the rows of the ledger, one for each request, newest first. @example show(await sluice.requests({ limit: 5 })); */
    requests: (page?: PageRequest & ListRequestsOptions): Promise<Page<ListedRequest> & { account: string | null }> =>
      transport.requestJson('/usage/requests', { query: page }),
    /**
     * Calls any other route of the edge.
     *
     * @throws SluiceError with the error of the edge
     * @example
     * const response = await sluice.fetch('/models');
     * show(await response.json());
     */
    fetch: (path: string, call?: RouteCallOptions): Promise<Response> => transport.sendRequest(path, call),
  };
}

/** Makes the calls for things that are stored by name, in versions that never change. */
function createStoredResourceClient<Put, Answer, Stored>(
  transport: Transport,
  path: '/agents' | '/classifiers' | '/prefixes',
) {
  // `encodePathSegment` also escapes the `@` before a version, which a path may contain unescaped, so restore it.
  const buildResourcePath = (name: string, rest: PathRemainderBelow<'/agents/:name'> = ''): ServedRoutePath =>
    `${path}/${encodePathSegment(name).replace('%40', '@') as EscapedPathSegment}${rest}`;
  return {
    /**
     * Stores a new version, or points the name to a stored one.
     *
     * @param value with `pinned`: hashes that stay in use too
     * @example
     * const { version } = await sluice.agents.put('editor', { model, max_tokens: 4_096, system: 'Correct the spelling.' });
     * show(version);
     */
    put: (name: string, value: Put & { pinned?: string[] }): Promise<Answer> =>
      transport.requestJson(buildResourcePath(name), { method: 'PUT', body: value }),
    /** Lists them in the order of their names. @example for (const { name } of (await sluice.prefixes.list()).data) show(name); */
    list: (page?: PageRequest): Promise<Page<NamedResourceRow>> => transport.requestJson(path, { query: page }),
    /** Gets one version. @param ref `name` or `name@version` @example show(await sluice.classifiers.get('tickets')); */
    get: (ref: string): Promise<Stored> => transport.requestJson(buildResourcePath(ref)),
    /** Lists the versions of a name, newest first. @example show((await sluice.agents.versions('editor')).data); */
    versions: (name: string, page?: PageRequest): Promise<Page<VersionRow>> =>
      transport.requestJson(buildResourcePath(name, '/versions'), { query: page }),
    /** Deletes a name with its versions. @example await sluice.prefixes.delete('manual'); */
    delete: async (name: string): Promise<void> => {
      await transport.sendRequest(buildResourcePath(name), { method: 'DELETE' });
    },
    /**
     * Takes a version back from everybody, also from the conversations that hold it.
     *
     * @param ref `name@version`
     * @example
     * const { version } = await sluice.agents.get('editor');
     * await sluice.agents.put('editor', { model, max_tokens: 4_096, system: 'Correct the grammar.' });
     * await sluice.agents.withdraw(version);
     */
    withdraw: async (ref: string): Promise<void> => {
      const [name = '', hash = ''] = ref.split('@');
      await transport.sendRequest(buildResourcePath(name, `/versions/${encodePathSegment(hash)}`), {
        method: 'DELETE',
      });
    },
  };
}
