import type { PathBelow, Segment, ServedPath } from '../edge/answers.ts';
import { createBatchCalls } from './batches.ts';
import { createConversationCalls } from './conversations.ts';
import type {
  AgentPut,
  BackgroundRequest,
  Classified,
  ClassifierPut,
  ClassifyRequest,
  ConversationTurn,
  CountAnswer,
  CountRequest,
  EvaluateRequest,
  Evaluation,
  ListedRequest,
  MessageRequest,
  NamedRow,
  Page,
  PageRequest,
  PrefixAnswer,
  PrefixPut,
  RequestsRequest,
  StoredAgent,
  StoredClassifier,
  StoredPrefix,
  UsageReport,
  UsageRequest,
  VersionRow,
} from './requests.ts';
import { Run, type RunRequest } from './run.ts';
import { MessageStream, type StreamOptions } from './stream.ts';
import { type Call, type ClientOptions, createIdempotencyKey, encodePathSegment, Transport } from './transport.ts';

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
  const stream = (request: MessageRequest, streamOptions?: StreamOptions) =>
    new MessageStream(transport, { conversation: request.conversation, body: JSON.stringify(request) }, streamOptions);
  return {
    messages: {
      /**
       * Asks for an answer, and yields its events as they come. In a conversation a lost connection is resumed; elsewhere it
       * is the error `connection_error`.
       *
       * @example
       * const stream = sluice.messages.stream({ model, max_tokens: 4_096, messages });
       * for await (const event of stream) show(event.type);
       */
      stream,
      /**
       * Begins a turn that nobody waits for. Its end is delivered to `deliver_url`. It needs a conversation.
       *
       * @example
       * const { id } = await sluice.messages.begin({ conversation: 'report', model, max_tokens: 4_096, messages });
       * show((await sluice.conversations.turn('report', id)).status);
       */
      begin: (request: BackgroundRequest, idempotencyKey = createIdempotencyKey()): Promise<ConversationTurn> =>
        transport.json('/messages', {
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
      run: (request: RunRequest, how?: StreamOptions) => new Run((turn) => stream(turn, how), request, how),
    },
    batches: createBatchCalls(transport),
    conversations: createConversationCalls(transport),
    /**
     * Counts a prompt, and says whether it fits its model and what it costs as input.
     *
     * @example
     * const { input_tokens, fits } = await sluice.countTokens({ model, messages });
     * show(input_tokens, fits);
     */
    countTokens: (request: CountRequest): Promise<CountAnswer> =>
      transport.json('/count-tokens', { method: 'POST', body: request }),
    agents: createStoredCalls<AgentPut, StoredAgent, StoredAgent>(transport, '/agents'),
    prefixes: {
      ...createStoredCalls<PrefixPut, PrefixAnswer, StoredPrefix>(transport, '/prefixes'),
    },
    /**
     * Labels one text, or several texts in one request. With a `schema` the result has the whole object as `output`.
     *
     * @throws SluiceError if the only input cannot be labelled; of several inputs each has its own error
     * @example
     * const { label } = await sluice.classify({ labels: ['praise', 'complaint'], input: 'It broke at once.' });
     * show(label);
     */
    classify: <R extends ClassifyRequest>(request: R): Promise<Classified<R>> =>
      transport.json('/classify', { method: 'POST', body: request }),
    classifiers: {
      ...createStoredCalls<ClassifierPut, StoredClassifier, StoredClassifier>(transport, '/classifiers'),
      /**
       * Evaluates a classifier, or several candidates, on examples whose labels are known.
       *
       * @example
       * const examples = [{ input: 'It broke at once.', label: 'complaint' }];
       * show(await sluice.classifiers.evaluate('tickets', { examples }));
       */
      evaluate: (name: string, request: EvaluateRequest): Promise<Evaluation> =>
        transport.json(`/classifiers/${encodePathSegment(name)}/evaluate`, { method: 'POST', body: request }),
    },
    /**
     * Gets what was spent, as sums by day, model, conversation, prefix or agent, in US dollars.
     *
     * @example
     * const { data } = await sluice.usage({ group_by: 'conversation' });
     * for (const { key, cost_usd } of data) show(key, cost_usd);
     */
    usage: (request?: UsageRequest): Promise<UsageReport> => transport.json('/usage', { query: request }),
    /** Lists the rows of the ledger, one for each request, newest first. @example show(await sluice.requests({ limit: 5 })); */
    requests: (page?: PageRequest & RequestsRequest): Promise<Page<ListedRequest> & { account: string | null }> =>
      transport.json('/usage/requests', { query: page }),
    /**
     * Calls any other route of the edge.
     *
     * @throws SluiceError with the error of the edge
     * @example
     * const response = await sluice.fetch('/models');
     * show(await response.json());
     */
    fetch: (path: string, call?: Call): Promise<Response> => transport.send(path, call),
  };
}

/** Makes the calls for things that are stored by name, in versions that never change. */
function createStoredCalls<Put, Answer, Stored>(transport: Transport, path: '/agents' | '/classifiers' | '/prefixes') {
  // The `@` before a version is not encoded.
  const at = (name: string, rest: PathBelow<'/agents/:name'> = ''): ServedPath =>
    `${path}/${encodePathSegment(name).replace('%40', '@') as Segment}${rest}`;
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
      transport.json(at(name), { method: 'PUT', body: value }),
    /** Lists them in the order of their names. @example for (const { name } of (await sluice.prefixes.list()).data) show(name); */
    list: (page?: PageRequest): Promise<Page<NamedRow>> => transport.json(path, { query: page }),
    /** Gets one version. @param ref `name` or `name@version` @example show(await sluice.classifiers.get('tickets')); */
    get: (ref: string): Promise<Stored> => transport.json(at(ref)),
    /** Lists the versions of a name, newest first. @example show((await sluice.agents.versions('editor')).data); */
    versions: (name: string, page?: PageRequest): Promise<Page<VersionRow>> =>
      transport.json(at(name, '/versions'), { query: page }),
    /** Deletes a name with its versions. @example await sluice.prefixes.delete('manual'); */
    delete: async (name: string): Promise<void> => {
      await transport.send(at(name), { method: 'DELETE' });
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
      await transport.send(at(name, `/versions/${encodePathSegment(hash)}`), { method: 'DELETE' });
    },
  };
}
