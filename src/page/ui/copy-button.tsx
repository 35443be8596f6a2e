import { useSignal } from '@preact/signals';
import { announce } from './announcer.tsx';
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
  const copy = async () => {
    await navigator.clipboard.writeText(getText());
    announce('Copied.');
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
        copy().catch(() => announce('Your browser did not allow copying.'));
      }}
    />
  );
}
