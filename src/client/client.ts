import { Conversations } from './conversations.ts';
import type {
  Classified,
  ClassifierPut,
  ClassifyRequest,
  CountAnswer,
  CountRequest,
  EvaluateRequest,
  Evaluation,
  LedgerRow,
  MessageRequest,
  NamedRow,
  Page,
  PageRequest,
  PrefixAnswer,
  PrefixPut,
  PrefixStats,
  PrefixStatsRequest,
  StoredClassifier,
  StoredPrefix,
  UsageReport,
  UsageRequest,
  VersionRow,
} from './requests.ts';
import { Run, type RunRequest } from './run.ts';
import { MessageStream, type StreamOptions } from './stream.ts';
import { type Call, type ClientOptions, Transport } from './transport.ts';

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
       * Asks for an answer and shows it as it comes. In a conversation a lost connection is resumed; elsewhere it is
       * the error `connection_error`.
       */
      stream,
      /** The same with tools that run here: asks again with what they give, until an answer calls none. */
      run: (request: RunRequest, how?: StreamOptions) => new Run((turn) => stream(turn, how), request, how),
    },
    conversations: new Conversations(transport),
    /** Counts a prompt, and says whether it fits its model and what it costs as input. */
    countTokens: (request: CountRequest): Promise<CountAnswer> =>
      transport.json('/count-tokens', { method: 'POST', body: request }),
    prefixes: {
      ...stored<PrefixPut, PrefixAnswer, StoredPrefix>(transport, '/prefixes'),
      /** What it has saved, by day and version. */
      stats: (name: string, days?: PrefixStatsRequest): Promise<PrefixStats> =>
        transport.json(`/prefixes/${encodeURIComponent(name)}/stats`, { query: days }),
    },
    /**
     * Labels a text, or several at once.
     *
     * @throws SluiceError if the only input cannot be labelled; of several inputs each has its own error
     */
    classify: <R extends ClassifyRequest>(request: R): Promise<Classified<R>> =>
      transport.json('/classify', { method: 'POST', body: request }),
    classifiers: {
      ...stored<ClassifierPut, StoredClassifier, StoredClassifier>(transport, '/classifiers'),
      /** Tries it, or several candidates, on examples whose labels are known. */
      evaluate: (name: string, request: EvaluateRequest): Promise<Evaluation> =>
        transport.json(`/classifiers/${encodeURIComponent(name)}/evaluate`, { method: 'POST', body: request }),
    },
    /** What was spent, in sums by day, model, conversation or prefix. */
    usage: (request?: UsageRequest): Promise<UsageReport> => transport.json('/usage', { query: request }),
    /** The ledger: a row a request, newest first. */
    requests: (page?: PageRequest & Pick<UsageRequest, 'account'>): Promise<Page<LedgerRow>> =>
      transport.json('/usage/requests', { query: page }),
    /**
     * Any other route of the edge.
     *
     * @throws SluiceError as the edge says
     */
    fetch: (path: string, call?: Call): Promise<Response> => transport.send(path, call),
  };
}

/** What is stored by name in versions that never change. */
function stored<Put, Answer, Stored>(transport: Transport, path: string) {
  // The mark of a version stands as it is.
  const at = (name: string, rest = '') => `${path}/${encodeURIComponent(name).replace('%40', '@')}${rest}`;
  return {
    /** Stores a new version, or points the name at one that there is. */
    put: (name: string, value: Put): Promise<Answer> => transport.json(at(name), { method: 'PUT', body: value }),
    /** In the order of their names. */
    list: (page?: PageRequest): Promise<Page<NamedRow>> => transport.json(path, { query: page }),
    /** @param ref `name` or `name@version` */
    get: (ref: string): Promise<Stored> => transport.json(at(ref)),
    /** Newest first. */
    versions: (name: string, page?: PageRequest): Promise<Page<VersionRow>> =>
      transport.json(at(name, '/versions'), { query: page }),
    delete: async (name: string): Promise<void> => {
      await transport.send(at(name), { method: 'DELETE' });
    },
  };
}
