import type { PathRemainderBelow, ServedRoutePath } from '../edge/answers.ts';
import { SluiceError } from './errors.ts';
import { readJsonLines } from './lines.ts';
import type {
  Approval,
  ApprovalDecision,
  Conversation,
  ConversationCreation,
  ConversationFork,
  ConversationLine,
  ConversationMessage,
  ConversationPatch,
  ConversationRow,
  ConversationTurn,
  ListConversationsOptions,
  ListMessagesOptions,
  Page,
} from './requests.ts';
import { MessageStream, type MessageStreamOptions } from './stream.ts';
import { encodePathSegment, type Transport } from './transport.ts';

const buildConversationPath = (id: string, rest: PathRemainderBelow<'/conversations/:id'> = ''): ServedRoutePath =>
  `/conversations/${encodePathSegment(id)}${rest}`;

/** The conversations of the account. */
export function createConversationsClient(transport: Transport) {
  return {
    /**
     * Creates a conversation, to set defaults for its turns (a first turn also creates one), or with a history: `messages` may be
     * rows of another conversation, as `messages` and `export` give them.
     *
     * @example
     * const { id } = await sluice.conversations.create({ model, max_tokens: 4_096, system: 'Be brief.' });
     * show(await sluice.messages.stream({ conversation: id, messages }).text());
     * const { data: rows } = await sluice.conversations.messages(id, { view: 'shown' });
     * show(await sluice.conversations.create({ messages: rows }));
     */
    create: (fields: ConversationCreation = {}): Promise<Conversation> =>
      transport.requestJson('/conversations', { method: 'POST', body: fields }),
    /**
     * Lists the conversations, newest first.
     *
     * @example for (const { id } of (await sluice.conversations.list()).data) show(id);
     */
    list: (page?: ListConversationsOptions): Promise<Page<ConversationRow>> =>
      transport.requestJson('/conversations', { query: page }),
    /**
     * Gets one conversation: its state, defaults and totals, and the summaries that are sent in the place of its oldest messages.
     *
     * @example
     * const { cost_usd, summaries = [] } = await sluice.conversations.get('trip');
     * show(cost_usd, summaries.length);
     */
    get: (id: string): Promise<Conversation> => transport.requestJson(buildConversationPath(id)),
    /**
     * Changes fields of a conversation. Absent fields stay.
     *
     * @example await sluice.conversations.update('trip', { title: 'Bern' });
     */
    update: (id: string, fields: ConversationPatch): Promise<Conversation> =>
      transport.requestJson(buildConversationPath(id), { method: 'PATCH', body: fields }),
    /** Deletes a conversation. @example await sluice.conversations.delete('trip'); */
    async delete(id: string): Promise<void> {
      await transport.sendRequest(buildConversationPath(id), { method: 'DELETE' });
    },
    /** Lists the messages, oldest first. @example show((await sluice.conversations.messages('trip')).data); */
    messages: (id: string, page?: ListMessagesOptions): Promise<Page<ConversationMessage>> =>
      transport.requestJson(buildConversationPath(id, '/messages'), { query: page }),
    /**
     * Gets what a turn did: its steps, what they cost, and the calls of tools that the edge made.
     *
     * @example
     * const { data } = await sluice.conversations.messages('trip');
     * if (data[0]) show(await sluice.conversations.turn('trip', data[0].turn));
     */
    turn: (id: string, turn: string): Promise<ConversationTurn> =>
      transport.requestJson(buildConversationPath(id, `/turns/${encodePathSegment(turn)}`)),
    /**
     * Stops a turn, and keeps the part of the answer that has arrived. An ended turn does not change.
     *
     * @example
     * const { id } = await sluice.messages.begin({ conversation: 'report', model, max_tokens: 4_096, messages });
     * show((await sluice.conversations.cancel('report', id)).status);
     */
    cancel: (id: string, turn: string): Promise<ConversationTurn> =>
      transport.requestJson(buildConversationPath(id, `/turns/${encodePathSegment(turn)}`), { method: 'DELETE' }),
    /**
     * Lists the calls that wait for approval. While there are any, the conversation accepts no message. Show people `input_text`: it
     * has each number as the tool gets it, where `input` has rounded long ones.
     *
     * @example
     * for (const { name, input_text } of (await sluice.conversations.approvals('release')).data) show(name, input_text);
     */
    approvals: (id: string, whose: { account?: string } = {}): Promise<Page<Approval>> =>
      transport.requestJson(buildConversationPath(id, '/approvals'), { query: whose }),
    /**
     * Decides on a call that waits for approval.
     *
     * @returns the turn that continues, if this was the last open call of its step; otherwise the call
     * @example
     * for (const { id } of (await sluice.conversations.approvals('release')).data) {
     *   show(await sluice.conversations.approve('release', id, { decision: 'deny', reason: 'Not on a Friday.' }));
     * }
     */
    approve: (
      id: string,
      approval: string,
      decision: ApprovalDecision = { decision: 'approve' },
      whose: { account?: string } = {},
    ): Promise<ConversationTurn | Approval> => {
      const path = buildConversationPath(id, `/approvals/${encodePathSegment(approval)}`);
      return transport.requestJson(path, { method: 'POST', body: decision, query: whose });
    },
    /**
     * Follows the running turn from its first event, for example after a reload, or in another window.
     *
     * @returns null if no turn runs; then the history is complete
     * @throws SluiceError 404 for an unknown conversation, without `ifAbsent`
     * @example
     * const stream = await sluice.conversations.resume('trip');
     * show(stream ? await stream.text() : 'Nothing runs.');
     */
    async resume(id: string, options?: MessageStreamOptions): Promise<MessageStream | null> {
      const stream = new MessageStream(transport, { conversation: id }, options);
      if (await stream.opened()) return stream;
      // If the stream could not be opened, reading it throws the error. If it ends at once, there is no turn to resume.
      for await (const _ of stream);
      return null;
    },
    /**
     * Stops the running turn, if there is one. The part of the answer that has arrived is kept.
     *
     * @param only stops only this turn. Another turn continues
     * @example show((await sluice.conversations.stop('trip')).state);
     */
    stop: (id: string, only: { turn?: string } = {}): Promise<Conversation> =>
      transport.requestJson(buildConversationPath(id, '/stop'), { method: 'POST', query: only }),
    /**
     * Rewinds to the state before a message's turn, so that another question can be asked.
     *
     * @example
     * const { data } = await sluice.conversations.messages('trip');
     * if (data[0]) show((await sluice.conversations.rewind('trip', data[0].id)).turns);
     */
    rewind: (id: string, before: string): Promise<Conversation> =>
      transport.requestJson(buildConversationPath(id, '/rewind'), { method: 'POST', body: { before } }),
    /**
     * Copies a conversation into a new one: all of it, or up to the turn of a message.
     *
     * @example show(await sluice.conversations.fork('trip'));
     */
    fork: (id: string, fields: ConversationFork = {}): Promise<Conversation> =>
      transport.requestJson(buildConversationPath(id, '/fork'), { method: 'POST', body: fields }),
    /**
     * Exports a conversation: first the conversation itself, then its messages.
     *
     * @throws SluiceError `connection_error` if the export is incomplete
     * @example
     * for await (const line of sluice.conversations.export('trip')) show(JSON.stringify(line));
     */
    async *export(id: string): AsyncGenerator<ConversationLine, void, void> {
      const response = await transport.sendRequest(buildConversationPath(id, '/export'));
      for await (const row of readJsonLines<ConversationLine | { type: 'end' }>(response)) {
        if (row.type === 'end') return;
        yield row;
      }
      throw new SluiceError('connection_error', 'The export ended before it was complete. Request it again.');
    },
  };
}

export type ConversationsClient = ReturnType<typeof createConversationsClient>;
