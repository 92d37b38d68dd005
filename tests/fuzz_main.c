/* Feeds files to a fuzz target without a fuzzer: what was found once stays found, with any
 * compiler. usage: TARGET FILE... */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file's bytes in a block of exactly their number, so that ASan sees a read beyond them. */
static uint8_t *read_exactly(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        return NULL;
    }
    *size = (size_t)ftell(file);
    rewind(file);
    uint8_t *bytes = (uint8_t *)malloc(*size > 0 ? *size : 1);
    if (bytes != NULL && fread(bytes, 1, *size, file) != *size) {
        free(bytes);
        bytes = NULL;
    }
    fclose(file);
    return bytes;
}

int main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        size_t size = 0;
        uint8_t *bytes = read_exactly(argv[i], &size);
        fprintf(stderr, "%s\n", argv[i]); /* before, since a finding ends the program */
        if (bytes == NULL) {
            perror(argv[i]);
            failed++;
            continue;
        }
        (void)LLVMFuzzerTestOneInput(bytes, size);
        free(bytes);
    }
    printf("%d passed, %d failed\n", argc - 1 - failed, failed);
    return failed > 0 ? 1 : 0;
}
