#!/bin/sh
# embed.sh FILE...: prints a C header that holds the files, for a server without a file system:
#
#     static const struct web_file {
#         const char *path;               "/app.js"
#         const char *type;               "text/javascript; charset=utf-8"
#         const unsigned char *bytes;
#         size_t len;
#     } web_files[] = {...};              the array's size is their number
set -eu

media_type() {
    case $1 in
    *.html) echo 'text/html; charset=utf-8' ;;
    *.css) echo 'text/css; charset=utf-8' ;;
    *.js | *.mjs) echo 'text/javascript; charset=utf-8' ;;
    *.json) echo 'application/json' ;;
    *.svg) echo 'image/svg+xml' ;;
    *.png) echo 'image/png' ;;
    *.ico) echo 'image/x-icon' ;;
    *) echo 'application/octet-stream' ;;
    esac
}

echo '/* Made by make from examples/web: edit there. */'
echo '#include <stddef.h>'
i=0
for file in "$@"; do
    if [ ! -f "$file" ] || [ ! -s "$file" ]; then
        echo "embed.sh: $file: no file, or an empty one" >&2
        exit 1
    fi
    echo "static const unsigned char web_bytes_$i[] = {"
    od -An -v -tx1 "$file" | sed 's/ *\([0-9a-f][0-9a-f]\)/0x\1,/g'
    echo '};'
    i=$((i + 1))
done
echo 'static const struct web_file {'
echo '    const char *path;'
echo '    const char *type;'
echo '    const unsigned char *bytes;'
echo '    size_t len;'
echo '} web_files[] = {'
i=0
for file in "$@"; do
    echo "    {\"/${file##*/}\", \"$(media_type "$file")\", web_bytes_$i, sizeof web_bytes_$i},"
    i=$((i + 1))
done
echo '};'
