import type { ConversationMessage } from '../../../client/index.ts';
import { CopyButton } from '../../ui/copy-button.tsx';
import { IconButton } from '../../ui/icon.tsx';
import { draftText as draft, editing, pictures } from '../composer/draft.ts';
import type { ImageBlock } from '../composer/images.ts';
import { partsOf, textOf } from '../session/content.ts';
import { fork } from '../session/conversations.ts';
import type { Session } from '../session/session.ts';

interface MessageActionsProps {
  row: ConversationMessage;
  session: Session;
  text: () => string;
}

export function MessageActions({ row, session, text }: MessageActionsProps) {
  const busy = session.busy.value;
  const rows = session.rows.value;
  const question = rows.slice(0, rows.indexOf(row)).findLast(({ role }) => role === 'user');
  const edit = () => {
    const parts = partsOf(row.content);
    draft.value = textOf(parts);
    pictures.value = parts
      .filter(({ type }) => type === 'image')
      .map((block) => ({ name: 'Picture', block: block as unknown as ImageBlock }));
    editing.value = row.id;
    document.getElementById('draft')?.focus();
  };
  return (
    <>
      <CopyButton text={text} label="Copy message" />
      {row.role === 'user' && <IconButton icon="edit" label="Edit and ask again" disabled={busy} onClick={edit} />}
      {row.role === 'assistant' && question && (
        <IconButton
          icon="again"
          label="Regenerate"
          disabled={busy}
          onClick={() => void session.ask(question.id, question.content)}
        />
      )}
      {row.role === 'assistant' && (
        <IconButton
          icon="fork"
          label="Fork from here"
          disabled={busy}
          onClick={() => void fork(session.id, row.id).catch((thrown: unknown) => session.fail(thrown))}
        />
      )}
    </>
  );
}
