import { batchesOf } from './batches.ts';
import { conversationsOf } from './conversations.ts';
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
  PrefixStats,
  PrefixStatsRequest,
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
import { type Call, type ClientOptions, newKey, Transport } from './transport.ts';

/** A client of one edge. */
export type Client = ReturnType<typeof createClient>;

/**
 * Makes a client of one edge.
 *
 * @example
 * const sluice = createClient({ baseURL: 'https://edge.example.com', token: () => fetchToken() });
 * const stream = sluice.messages.stream({ conversation: 'trip', model, max_tokens, messages });
 * for await (const text of stream.textDeltas()) show(text);
 */
export function createClient(options: ClientOptions) {
  const transport = new Transport(options);
  const stream = (request: MessageRequest, how?: StreamOptions) =>
    new MessageStream(transport, { conversation: request.conversation, body: JSON.stringify(request) }, how);
  return {
    messages: {
      /**
       * Asks for an answer, and yields its events as they come. In a conversation a lost connection is resumed; elsewhere it
       * is the
       * error `connection_error`.
       */
      stream,
      /** Begins a turn that nobody waits for. Its end is delivered to `deliver_url`. It needs a conversation. */
      begin: (request: BackgroundRequest, idempotencyKey = newKey()): Promise<ConversationTurn> =>
        transport.json('/messages', {
          method: 'POST',
          body: { ...request, background: true },
          headers: { 'idempotency-key': idempotencyKey },
        }),
      /** The same as `stream`, with tools that run here: sends their results and asks again, until an answer calls no tool. */
      run: (request: RunRequest, how?: StreamOptions) => new Run((turn) => stream(turn, how), request, how),
    },
    batches: batchesOf(transport),
    conversations: conversationsOf(transport),
    /** Counts a prompt, and says whether it fits its model and what it costs as input. */
    countTokens: (request: CountRequest): Promise<CountAnswer> =>
      transport.json('/count-tokens', { method: 'POST', body: request }),
    agents: stored<AgentPut, StoredAgent, StoredAgent>(transport, '/agents'),
    prefixes: {
      ...stored<PrefixPut, PrefixAnswer, StoredPrefix>(transport, '/prefixes'),
      /** Gets what a prefix has saved, by day and version. */
      stats: (name: string, days?: PrefixStatsRequest): Promise<PrefixStats> =>
        transport.json(`/prefixes/${encodeURIComponent(name)}/stats`, { query: days }),
    },
    /**
     * Labels one text, or several texts in one request.
     *
     * @throws SluiceError if the only input cannot be labelled; of several inputs each has its own error
     */
    classify: <R extends ClassifyRequest>(request: R): Promise<Classified<R>> =>
      transport.json('/classify', { method: 'POST', body: request }),
    classifiers: {
      ...stored<ClassifierPut, StoredClassifier, StoredClassifier>(transport, '/classifiers'),
      /** Evaluates a classifier, or several candidates, on examples whose labels are known. */
      evaluate: (name: string, request: EvaluateRequest): Promise<Evaluation> =>
        transport.json(`/classifiers/${encodeURIComponent(name)}/evaluate`, { method: 'POST', body: request }),
    },
    /** Gets what was spent, as sums by day, model, conversation, prefix or agent, in US dollars. */
    usage: (request?: UsageRequest): Promise<UsageReport> => transport.json('/usage', { query: request }),
    /** Lists the rows of the ledger, one for each request, newest first. */
    requests: (page?: PageRequest & RequestsRequest): Promise<Page<ListedRequest>> =>
      transport.json('/usage/requests', { query: page }),
    /**
     * Calls any other route of the edge.
     *
     * @throws SluiceError with the error of the edge
     */
    fetch: (path: string, call?: Call): Promise<Response> => transport.send(path, call),
  };
}

/** Makes the calls for things that are stored by name, in versions that never change. */
function stored<Put, Answer, Stored>(transport: Transport, path: string) {
  // The `@` before a version is not encoded.
  const at = (name: string, rest = '') => `${path}/${encodeURIComponent(name).replace('%40', '@')}${rest}`;
  return {
    /** Stores a new version, or points the name to a stored one. @param value with `pinned`: hashes that stay in use too */
    put: (name: string, value: Put & { pinned?: string[] }): Promise<Answer> =>
      transport.json(at(name), { method: 'PUT', body: value }),
    /** Lists them in the order of their names. */
    list: (page?: PageRequest): Promise<Page<NamedRow>> => transport.json(path, { query: page }),
    /** Gets one version. @param ref `name` or `name@version` */
    get: (ref: string): Promise<Stored> => transport.json(at(ref)),
    /** Lists the versions of a name, newest first. */
    versions: (name: string, page?: PageRequest): Promise<Page<VersionRow>> =>
      transport.json(at(name, '/versions'), { query: page }),
    /** Deletes a name with its versions. */
    delete: async (name: string): Promise<void> => {
      await transport.send(at(name), { method: 'DELETE' });
    },
    /** Takes a version back from everybody, also from the conversations that hold it. @param ref `name@version` */
    withdraw: async (ref: string): Promise<void> => {
      const [name = '', hash = ''] = ref.split('@');
      await transport.send(at(name, `/versions/${encodeURIComponent(hash)}`), { method: 'DELETE' });
    },
  };
}
