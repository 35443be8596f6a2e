/** Hands a file to the browser, which saves it. */
export function saveFile(name: string, content: Blob): void {
  const url = URL.createObjectURL(content);
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  // Once the click was worked on, the browser has the content by itself.
  setTimeout(() => URL.revokeObjectURL(url));
}
