import { refreshPrefixes } from '../../edge/account.ts';
import { useAction } from '../../edge/async-action.ts';
import { edge } from '../../edge/client.ts';
import { model } from '../../edge/models.ts';
import { Dialog } from '../../ui/dialog.tsx';
import { Fault } from '../../ui/fault.tsx';
import { Form, SubmitButton } from '../../ui/form.tsx';

interface PrefixDialogProps {
  onClose(): void;
  /** @param name the name of the stored prefix */
  onStored(name: string): void;
}

export function PrefixDialog({ onClose, onStored }: PrefixDialogProps) {
  const { busy, fault, run } = useAction();
  const store = async (form: FormData) => {
    const name = String(form.get('name')).trim();
    await edge().prefixes.put(name, {
      system: String(form.get('system')),
      cache_ttl: form.get('hour') ? '1h' : '5m',
      ...(model.value ? { model: model.value.id } : {}),
    });
    await refreshPrefixes();
    onStored(name);
  };
  return (
    <Dialog title="New prefix" onClose={onClose}>
      <Form onSubmit={(data) => void run(() => store(data))}>
        <p class="quiet">
          The start of a prompt that many requests share. It is stored once, put before each request, and read from
          Claude’s cache for a tenth of the price.
        </p>
        <label class="labelled">
          Name
          <input name="name" required maxLength={64} autocomplete="off" placeholder="support" />
        </label>
        <label class="labelled">
          System prompt
          <textarea name="system" required rows={8} placeholder="You answer for Acme…" />
        </label>
        <label class="chip">
          <input type="checkbox" name="hour" /> Cache it for an hour instead of five minutes
        </label>
        {fault.value && <Fault text={fault.value} />}
        <SubmitButton name="Store prefix" disabled={busy.value} />
      </Form>
    </Dialog>
  );
}
