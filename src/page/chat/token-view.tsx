import { useSignal } from '@preact/signals';
import { type ConversationMessage, createClient } from '../../client/index.ts';
import type { MintedTokenAnswer } from '../../edge/answers.ts';
import { useAsyncAction } from '../edge/async-action.ts';
import { readJson } from '../edge/client.ts';
import { createTokenSignal } from '../edge/credential.ts';
import { identity } from '../edge/identity.ts';
import { Dialog } from '../ui/dialog.tsx';
import { FaultMessage } from '../ui/fault.tsx';
import { Field, Form, SubmitButton } from '../ui/form.tsx';
import { IconButton } from '../ui/icon.tsx';
import { MessageBlock } from './message/message-part.tsx';
import { readAllMessages, toContentParts } from './session/content.ts';
import { findToolResults } from './session/entries.ts';

/** The token that was pasted. It is kept in memory alone, and not recorded with the other requests. */
const pastedToken = createTokenSignal('');

interface ConversationAsTokenProps {
  id: string;
  /** The name of the conversation’s agent. A restricted token sees only conversations with an agent. */
  agent: string | undefined;
}

const PREVIEW_TOKEN_SECONDS = 60;

/** Mints a restricted token for one conversation. @throws SluiceError for a caller who is not an admin */
async function mintPreviewToken(id: string, agent: string): Promise<string> {
  const body = {
    account: identity.value.account,
    scopes: ['messages'],
    expires_in: PREVIEW_TOKEN_SECONDS,
    label: 'Preview in the page',
    // The agent may belong to the deployment or to the account, so allow both names.
    only: { agents: [agent, `own:${agent}`], conversations: [id] },
  };
  return (await readJson<MintedTokenAnswer>('/tokens', { method: 'POST', body })).token;
}

/** Shows a conversation as another token sees it: what a page with that token would receive. */
export function ConversationAsToken({ id, agent }: ConversationAsTokenProps) {
  const open = useSignal(false);
  return (
    <>
      <IconButton icon="eye" label="Preview with a token" onClick={() => (open.value = true)} />
      {open.value && <ConversationAsTokenDialog id={id} agent={agent} onClose={() => (open.value = false)} />}
    </>
  );
}

function ConversationAsTokenDialog({ id, agent, onClose }: ConversationAsTokenProps & { onClose(): void }) {
  const { isBusy: busy, fault, run } = useAsyncAction();
  const rows = useSignal<readonly ConversationMessage[] | undefined>(undefined);
  const canMint = identity.value.admin && agent !== undefined;
  const showAsToken = async (data: FormData) => {
    pastedToken.value = String(data.get('token')).trim();
    rows.value = undefined;
    await run(async () => {
      const token =
        pastedToken.value === '' && agent !== undefined ? await mintPreviewToken(id, agent) : pastedToken.value;
      rows.value = await readAllMessages(createClient({ baseURL: location.origin, token }), id);
    });
  };
  return (
    <Dialog title="Preview with a token" onClose={onClose}>
      <Form onSubmit={(data) => void showAsToken(data)}>
        <Field
          label="Restricted token"
          note={
            canMint
              ? 'Leave empty to use a token for this conversation and its agent that expires after a minute.'
              : 'The token is kept in memory until you leave this page, and is sent only to this deployment.'
          }
        >
          {(ids) => (
            <input
              {...ids}
              name="token"
              type="password"
              autocomplete="off"
              spellcheck={false}
              required={!canMint}
              defaultValue={pastedToken.value}
            />
          )}
        </Field>
        <SubmitButton name="Preview" disabled={busy.value} />
      </Form>
      <section
        class="token-view"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a scrollable area needs the focus, so that the keyboard can scroll it.
        tabIndex={0}
        aria-label="Messages that this token can read"
        aria-busy={busy.value}
      >
        {fault.value && <FaultMessage text={fault.value} />}
        {!rows.value && <p class="quiet">The messages that the token can read appear here.</p>}
        {rows.value?.length === 0 && <p class="quiet">No messages yet.</p>}
        {rows.value?.map((row) => (
          <TokenPreviewMessage key={row.id} row={row} />
        ))}
      </section>
    </Dialog>
  );
}

function TokenPreviewMessage({ row: { role, content } }: { row: ConversationMessage }) {
  const parts = toContentParts(content);
  const results = findToolResults([{ parts }]);
  // Show a call that the edge ran like any other: its name, its input and its result.
  const shown = parts
    .filter(({ type }) => type !== 'mcp_tool_result')
    .map((part) => (part.type === 'mcp_tool_use' ? { ...part, type: 'tool_use' } : part));
  return (
    <article class={`message ${role}`} aria-label={role === 'user' ? 'You' : 'Answer'}>
      <div class="message-body">
        {shown.map((part, index) => (
          <MessageBlock
            // biome-ignore lint/suspicious/noArrayIndexKey: the history does not change after it is rendered.
            key={index}
            part={part}
            result={results.get(String(part.id))}
            plain={role === 'user'}
          />
        ))}
      </div>
    </article>
  );
}
