import { parse, SluiceError } from './errors.ts';
import type {
  Conversation,
  ConversationCreation,
  ConversationFork,
  ConversationLine,
  ConversationMessage,
  ConversationPatch,
  ConversationRow,
  HistoryRequest,
  Page,
  PageRequest,
} from './requests.ts';
import { MessageStream, type StreamOptions } from './stream.ts';
import type { Transport } from './transport.ts';

const at = (id: string, rest = '') => `/conversations/${encodeURIComponent(id)}${rest}`;

/** The conversations of the account. */
export class Conversations {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Creates one, empty; only needed for defaults of its turns, since a first turn begins one too. */
  create(fields: ConversationCreation = {}): Promise<Conversation> {
    return this.#transport.json('/conversations', { method: 'POST', body: fields });
  }

  /** Newest first. */
  list(page?: PageRequest): Promise<Page<ConversationRow>> {
    return this.#transport.json('/conversations', { query: page });
  }

  get(id: string): Promise<Conversation> {
    return this.#transport.json(at(id));
  }

  update(id: string, fields: ConversationPatch): Promise<Conversation> {
    return this.#transport.json(at(id), { method: 'PATCH', body: fields });
  }

  async delete(id: string): Promise<void> {
    await this.#transport.send(at(id), { method: 'DELETE' });
  }

  /** Oldest first. */
  messages(id: string, page?: HistoryRequest): Promise<Page<ConversationMessage>> {
    return this.#transport.json(at(id, '/messages'), { query: page });
  }

  /**
   * Follows the turn that runs, from its first event: after a reload, or in another window.
   *
   * @returns null if none runs; then the history has everything
   * @throws SluiceError 404 for a conversation that is not there
   */
  async resume(id: string, options?: StreamOptions): Promise<MessageStream | null> {
    const stream = new MessageStream(this.#transport, { conversation: id }, options);
    if (await stream.opened()) return stream;
    // Where it failed, this throws.
    for await (const _ of stream);
    return null;
  }

  /**
   * Stops the turn that runs, if one does, and keeps what was said.
   *
   * @param only the turn that is meant; another one goes on
   */
  stop(id: string, only: { turn?: string } = {}): Promise<Conversation> {
    return this.#transport.json(at(id, '/stop'), { method: 'POST', query: only });
  }

  /** Goes back to before the turn of a message, so that it can be asked differently. */
  rewind(id: string, before: string): Promise<Conversation> {
    return this.#transport.json(at(id, '/rewind'), { method: 'POST', body: { before } });
  }

  /** Continues a copy: of everything, or up to the turn of a message. */
  fork(id: string, fields: ConversationFork = {}): Promise<Conversation> {
    return this.#transport.json(at(id, '/fork'), { method: 'POST', body: fields });
  }

  /**
   * The conversation by itself, then its messages.
   *
   * @throws SluiceError `connection_error` if it does not come whole
   */
  async *export(id: string): AsyncGenerator<ConversationLine, void, void> {
    const { body } = await this.#transport.send(at(id, '/export'));
    const reader = body?.getReader();
    const decoder = new TextDecoder();
    let rest = '';
    try {
      for (;;) {
        const { value, done } = (await reader?.read().catch(() => undefined)) ?? { done: true };
        if (done || !value) break;
        const lines = (rest + decoder.decode(value, { stream: true })).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) {
          const row = parse<ConversationLine | { type: 'end' }>(line);
          if (row?.type === 'end') return;
          if (row) yield row;
        }
      }
    } finally {
      reader?.cancel().catch(() => {});
    }
    throw new SluiceError('connection_error', 'The export was cut before its end. Ask for it again.');
  }
}
