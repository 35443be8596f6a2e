import { useSignal } from '@preact/signals';
import { announceToScreenReader } from './announcer.tsx';
import { IconButton } from './icon.tsx';

const COPIED_NOTE_MS = 1_500;

export function CopyButton({
  text: getText,
  label = 'Copy',
  word,
}: {
  text: () => string;
  label?: string;
  word?: string;
}) {
  const copied = useSignal(false);
  const copyText = async () => {
    await navigator.clipboard.writeText(getText());
    announceToScreenReader('Copied.');
    copied.value = true;
    setTimeout(() => {
      copied.value = false;
    }, COPIED_NOTE_MS);
  };
  return (
    <IconButton
      icon={copied.value ? 'check' : 'copy'}
      label={label}
      {...(word === undefined ? {} : { word })}
      onClick={() => {
        copyText().catch(() => announceToScreenReader('Your browser did not allow copying.'));
      }}
    />
  );
}
