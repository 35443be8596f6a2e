/** `sluice/client/ai-sdk`: the Vercel AI SDK's `useChat` over conversations of the edge. */
import type { ChatTransport, UIMessage, UIMessageChunk } from 'ai';
import type { Client } from './client.ts';
import type { SluiceError } from './errors.ts';
import type { ConversationMessage, MessageRequest, Page } from './requests.ts';
import type { MessageStream } from './stream.ts';
import { chunksOf } from './ui-chunks.ts';
import { contentOf, type SluiceMetadata, toUIMessages } from './ui-messages.ts';

export { type SluiceMetadata, toUIMessages } from './ui-messages.ts';

export interface SluiceChatOptions {
  /** What `createClient` of `sluice/client` has made. */
  client: Client;
  /** Fields of every request: `model`, `max_tokens`, `system`, `tools`, `prefix`, … A call's own `body` comes on top. */
  request?: Omit<Partial<MessageRequest>, 'messages' | 'conversation'>;
  /** The conversation of a chat; by default the chat's id is its id. */
  conversation?: (chatId: string) => string;
  /**
   * Whether what `stop()` aborts is stopped at the edge too (default), so that nothing more is paid for. A page that is
   * closed or reloaded aborts nothing; but `useChat` itself calls `stop()` when its component goes: a component that
   * shall come back to a running answer is given a `Chat` that lives longer than it does.
   */
  stopOnAbort?: boolean;
  /** Told when the edge could not be asked to stop: the turn may go on. By default it is a rejection that nobody handles. */
  onStopFailed?: (error: unknown) => void;
}

type Sending = Parameters<ChatTransport<UIMessage>['sendMessages']>[0];
type Resuming = Parameters<ChatTransport<UIMessage>['reconnectToStream']>[0];

/** What has been asked for in a chat. */
interface Chat {
  /** Sent messages and resumes: the newest is the one that counts. */
  readings: number;
  resumes: number;
  /** Settles when whatever was stopped has ended. */
  stopping: Promise<unknown>;
}

type Chunks = AsyncGenerator<UIMessageChunk<SluiceMetadata>, void, void>;

/**
 * A chat transport: the edge keeps the history, so only what is new is sent; lost connections are resumed by the client,
 * and a reload finds the running answer (`useChat({ id, messages: await loadMessages(client, id), resume: true })`).
 *
 * @example
 * const transport = createChatTransport({ client, request: { model: 'claude-haiku-5-5', max_tokens: 1000 } });
 * const { messages, sendMessage, stop } = useChat({ id: 'trip', transport });
 */
export function createChatTransport(options: SluiceChatOptions): ChatTransport<UIMessage> {
  const { client, request, stopOnAbort = true } = options;
  const conversationOf = options.conversation ?? ((chatId: string) => chatId);
  const chats = new Map<string, Chat>();

  function chatOf(id: string): Chat {
    const chat = chats.get(id) ?? { readings: 0, resumes: 0, stopping: Promise.resolve() };
    chats.set(id, chat);
    return chat;
  }

  function read(chat: Chat, stream: MessageStream, signal: AbortSignal | undefined, before?: SluiceMetadata) {
    const onAbort = () => {
      const { resumes } = chat;
      // A resume that takes this reading's place is asked for at once; otherwise somebody has stopped it.
      const stopping = new Promise((resolve) => setTimeout(resolve))
        .then(() => (stopOnAbort && chat.resumes === resumes ? stream.stop() : undefined))
        .catch(options.onStopFailed);
      chat.stopping = Promise.allSettled([chat.stopping, stopping]);
      void stopping.finally(() => stream.close());
    };
    if (signal?.aborted) onAbort();
    signal?.addEventListener('abort', onAbort, { once: true });
    return streamOf(chunksOf(stream, before));
  }

  return {
    // A running answer is told again from its first event.
    resumeStreamIsReplay: true,

    async sendMessages({ chatId, messages, trigger, messageId, abortSignal, headers, body }: Sending) {
      const chat = chatOf(chatId);
      chat.readings += 1;
      const conversation = conversationOf(chatId);
      const last = messages.at(-1);
      const isContinued = last?.role === 'assistant';
      // What was stopped just now must have ended: a conversation has one turn at a time.
      await chat.stopping;
      abortSignal?.throwIfAborted();
      if (!isContinued && (trigger === 'regenerate-message' || messageId !== undefined)) {
        await goBack(client, conversation, messages);
        abortSignal?.throwIfAborted();
      }
      const turn = {
        ...request,
        ...body,
        conversation,
        messages: [{ role: 'user' as const, content: contentOf(messages) }],
      };
      const stream = client.messages.stream(turn, { headers: Object.fromEntries(new Headers(headers)) });
      const before = isContinued ? ((last.metadata ?? {}) as SluiceMetadata) : undefined;
      const chunks = read(chat, stream, abortSignal, before);
      // What is refused is the hook's error at once, with its type.
      if (!(await stream.opened())) await stream.finalMessage();
      return chunks;
    },

    async reconnectToStream({ chatId, abortSignal }: Resuming) {
      const chat = chatOf(chatId);
      chat.resumes += 1;
      chat.readings += 1;
      const own = chat.readings;
      const resuming = client.conversations.resume(conversationOf(chatId)).catch(unlessUnknown);
      const [resumed] = await Promise.allSettled([resuming]);
      const stream = resumed.status === 'fulfilled' ? resumed.value : undefined;
      if (chat.readings !== own) {
        // A message was sent meanwhile: its reading is the one that `stop()` has to reach, and whatever is answered
        // here, also that nothing runs, would be shown as the end of that one.
        stream?.close();
        await aborted(abortSignal);
        return null;
      }
      if (resumed.status === 'rejected') throw resumed.reason;
      return stream ? read(chat, stream, abortSignal) : null;
    },
  };
}

/**
 * @returns a conversation's messages for `useChat`, with the question of a turn that runs; none if there is no such one
 */
export async function loadMessages(client: Client, conversation: string): Promise<UIMessage<SluiceMetadata>[]> {
  return toUIMessages(await rowsOf(client, conversation));
}

/** What is asked again or differently takes the place of what was asked: the history goes back to before it. */
async function goBack(client: Client, conversation: string, messages: readonly UIMessage[]): Promise<void> {
  const rows = await rowsOf(client, conversation);
  const answer = messages.findLast(({ role }) => role === 'assistant');
  // An answer may be several rows: what its tools gave is no question.
  const known = toUIMessages(rows);
  const from = answer === undefined ? 0 : known.findIndex(({ id }) => id === answer.id) + 1;
  const question = known.slice(from).find(({ role }) => role === 'user');
  if (question) await client.conversations.rewind(conversation, question.id);
}

async function rowsOf(client: Client, conversation: string): Promise<ConversationMessage[]> {
  const rows: ConversationMessage[] = [];
  let page: Page<ConversationMessage> | undefined;
  do {
    const place = page?.last_id ? { after_id: page.last_id } : {};
    page = await client.conversations
      .messages(conversation, { limit: 1_000, pending: true, ...place })
      .catch(unlessUnknown);
    rows.push(...(page?.data ?? []));
  } while (page?.has_more);
  return rows;
}

function aborted(signal: AbortSignal | undefined): Promise<void> {
  if (!signal || signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

/** A chat that has not begun is no conversation yet. */
function unlessUnknown(thrown: unknown): undefined {
  if (!(thrown instanceof Error && (thrown as SluiceError).status === 404)) throw thrown;
}

function streamOf(chunks: Chunks): ReadableStream<UIMessageChunk> {
  return new ReadableStream<UIMessageChunk>({
    async pull(controller) {
      try {
        const { value, done } = await chunks.next();
        if (done) controller.close();
        else controller.enqueue(value);
      } catch (thrown) {
        controller.error(thrown);
      }
    },
    async cancel() {
      await chunks.return(undefined);
    },
  });
}
